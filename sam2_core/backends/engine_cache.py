"""Engines on disk: beside every plan a record of what it is for, what it is, and how its check ended.

A plan is used only where its record says that it was made for exactly this, and where its bytes are those
that were written.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..files import replacing
from .engines import EngineDevice, EngineError

CHECK_VERSION = 1
"""Raised with every change of the self-check: what an earlier one accepted or refused is checked again."""


@dataclass(frozen=True)
class EngineKey:
    """All that decides what an engine is. Two engines of the same key may take each other's place."""

    device: EngineDevice
    model: str
    """Name of the configuration, for people; the graph holds the weights."""
    bucket: str
    """Name of the bucket, whose shapes are fixed."""
    precision: str
    graph: str
    """SHA-256 of the ONNX file."""
    check: int = CHECK_VERSION

    @property
    def name(self) -> str:
        """Fit for a file name, and different for different keys."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{self.model}-{self.bucket}-{self.precision}-{digest[:12]}"


@dataclass(frozen=True)
class EngineRecord:
    """What is known of an engine."""

    key: EngineKey
    sha256: str = ""
    """Of the plan; empty where there is none."""
    size: int = 0
    """Of the plan [bytes]."""
    seconds: float = 0.0
    """That it took to build."""
    time: float = 0.0
    """When the record was written [s since 1970]."""
    error: float | None = None
    """Largest relative error of an output against float32 torch; None: not checked yet."""
    problem: str = ""
    """Why it was refused; the plan is not kept."""


class EngineCache:
    """A folder of plans (`<name>.plan`), their records (`<name>.json`), and proofs of whole sets.

    Args:
        folder: made where something is stored.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: EngineKey) -> EngineRecord | None:
        """The record of a key; None where there is none.

        Raises:
            EngineError: the record is damaged, or of another engine.
        """
        path = self._path(key, "json")
        if not path.exists():
            return None
        record = _read_record(path)
        if record.key != key:
            raise EngineError(f"{path.name} is the record of another engine ({record.key.device})")
        return record

    def read_plan(self, record: EngineRecord) -> bytes:
        """The plan of a record.

        Raises:
            EngineError: it is missing, truncated or altered.
        """
        path = self._path(record.key, "plan")
        try:
            plan = path.read_bytes()
        except OSError as error:
            raise EngineError(f"{path.name} cannot be read: {error.strerror}") from error
        if len(plan) < record.size:
            raise EngineError(f"{path.name} is truncated: {len(plan)} of {record.size} bytes")
        if hashlib.sha256(plan).hexdigest() != record.sha256:
            raise EngineError(f"{path.name} was altered: its SHA-256 is not the recorded one")
        return plan

    def store(self, key: EngineKey, plan: bytes, seconds: float) -> EngineRecord:
        """Keeps a plan that took `seconds` to build, not checked yet. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        record = EngineRecord(key, hashlib.sha256(plan).hexdigest(), len(plan), seconds)
        with replacing(self._path(key, "plan")) as part:
            part.write_bytes(plan)
        return self._write(record)

    def accept(self, record: EngineRecord, error: float | None) -> EngineRecord:
        """Notes that an engine passed its check with this error; None: that it must pass it again."""
        return self._write(replace(record, error=error))

    def refuse(self, key: EngineKey, problem: str) -> None:
        """Notes why an engine is of no use, and removes its plan. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write(EngineRecord(key, problem=problem))
        self._path(key, "plan").unlink(missing_ok=True)

    def forget(self, key: EngineKey) -> None:
        """Removes what is known of an engine. Raises OSError."""
        for suffix in ("json", "plan"):
            self._path(key, suffix).unlink(missing_ok=True)

    def records(self) -> list[EngineRecord]:
        """All records that can be read, by name."""
        found = []
        for path in sorted(self.folder.glob("[!.]*.json")):  # hidden ones are not complete
            try:
                found.append(_read_record(path))
            except EngineError:
                continue  # it is told when the engine is needed
        return found

    def typical_seconds(self, device: EngineDevice, bucket: str) -> float | None:
        """How long an engine of a bucket took on a device the last time; None: none was built yet."""
        known = [one for one in self.records() if one.key.device == device and one.key.bucket == bucket]
        built = [one for one in known if one.seconds]
        return max(built, key=lambda one: one.time).seconds if built else None

    def prove(self, records: Iterable[EngineRecord], outcome: str) -> None:
        """Notes that the tracker passed its check with exactly these engines. Raises OSError."""
        with replacing(self._proof(records)) as part:
            part.write_text(json.dumps({"outcome": outcome}) + "\n")

    def proof(self, records: Iterable[EngineRecord]) -> str | None:
        """What `prove` noted of these engines; None: nothing."""
        try:
            return str(json.loads(self._proof(records).read_text())["outcome"])
        except (OSError, ValueError, KeyError):
            return None

    def _proof(self, records: Iterable[EngineRecord]) -> Path:
        names = "\n".join(sorted(f"{record.key.name} {record.sha256}" for record in records))
        return self.folder / f"tracker-{hashlib.sha256(names.encode()).hexdigest()[:12]}.proof"

    def _path(self, key: EngineKey, suffix: str) -> Path:
        return self.folder / f"{key.name}.{suffix}"

    def _write(self, record: EngineRecord) -> EngineRecord:
        record = replace(record, time=time.time())
        with replacing(self._path(record.key, "json")) as part:
            part.write_text(json.dumps(asdict(record), indent=2) + "\n")
        return record


def _read_record(path: Path) -> EngineRecord:
    try:
        fields = json.loads(path.read_text())
        key = fields.pop("key")
        return EngineRecord(key=EngineKey(device=EngineDevice(**key.pop("device")), **key), **fields)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"{path.name} is damaged: {error!r}") from error
