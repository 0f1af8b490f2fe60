"""From exported graphs to engines that were proven right on this device, or to torch where none is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Literal, NamedTuple

from ..model import Sam2Network
from .build_progress import BuildProgress, build_interruptibly
from .engine_cache import EngineCache, EngineKey, EngineRecord
from .engine_outcome import EngineOutcome, Verdict
from .engines import PRECISIONS, EngineBuilder, EngineError, EngineResourceError, EnginesMissingError
from .manifest import WEIGHTS
from .programs import Bucket, Program, signature
from .self_check import SelfCheck
from .staged import StagedBackend

_GIB = 2**30


class Graph(NamedTuple):
    """An exported graph."""

    path: Path
    sha256: str


Again = Literal["nothing", "check", "build"]

GraphSource = Callable[[Bucket, str], Graph]
"""The graph of a bucket in a precision, exported if it is not there. Raises EngineError."""


@dataclass
class _Climb:
    """A bucket on its way to the precision in which it passes."""

    bucket: Bucket
    left: list[str]
    """Precisions still to be tried."""
    record: EngineRecord | None = None
    """Of the engine that passed; None as long as none did."""
    program: Program | None = None
    refused: list[tuple[str, str]] = field(default_factory=list)

    def verdict(self) -> Verdict:
        precision, error = (self.record.key.precision, self.record.error) if self.record else ("", None)
        return Verdict(self.bucket, precision, error, tuple(self.refused))


class ProvenEngines:
    """Takes engines from the cache, builds what is missing, and checks all before it is used.

    Args:
        builder: TensorRT.
        cache: where engines are kept.
        graphs: gives the exported graphs.
        network: runs what no engine does; in float32, on the device.
        check: compares with the network.
        report: is told, line by line, what happens.
        cancelled: set by whoever wants a building to stop.
        may_build: whether what is missing is built; if not, what is there is used.
    """

    def __init__(
        self,
        builder: EngineBuilder,
        cache: EngineCache,
        graphs: GraphSource,
        network: Sam2Network,
        check: SelfCheck,
        report: Callable[[str], None],
        cancelled: threading.Event,
        may_build: bool = True,
    ) -> None:
        self._builder = builder
        self._cache = cache
        self._graphs = graphs
        self._network = network
        self._check = check
        self._report = report
        self._cancelled = cancelled
        self._may_build = may_build
        self._turn = ""

    def load(
        self, buckets: Sequence[Bucket], precision: str, again: Again = "nothing"
    ) -> tuple[StagedBackend, EngineOutcome]:
        """A backend of engines that passed their check.

        Args:
            buckets: which engines.
            precision: the lowest, with which to begin; one of `PRECISIONS`.
            again: what to do again although it was done before; refused engines are tried again by "build".

        Raises:
            EngineError: the graphs cannot be exported.
            EnginesMissingError: there is none, and none may be built.
            BuildCancelledError: a building was cancelled.
            KeyboardInterrupt: Ctrl-C, while an engine was built.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r} is unknown; allowed: {', '.join(PRECISIONS)}")
        rungs = PRECISIONS[PRECISIONS.index(precision) :]
        self._forget(buckets, again)
        missing = self._missing(buckets, precision)
        if not self._may_build:
            buckets = [bucket for bucket in buckets if bucket not in missing]
            missing = []
        if not buckets:
            raise EnginesMissingError("none is built")
        self._announce(missing, buckets, precision)
        climbs = [_Climb(bucket, list(rungs)) for bucket in buckets]
        for number, climb in enumerate(climbs, start=1):
            self._turn = f"engine {number} of {len(climbs)}"
            self._climb(climb)
        tracking = self._prove(climbs, trusting=again == "nothing")
        outcome = EngineOutcome(self._builder.device, tuple(one.verdict() for one in climbs), tracking)
        self._report(f"TensorRT: {outcome}")
        return self._backend(climbs), outcome

    def _forget(self, buckets: Sequence[Bucket], again: Again) -> None:
        """Removes from the cache what is to be done again."""
        names = {bucket.name for bucket in buckets}
        for record in self._cache.records():
            key = record.key
            mine = (key.device, key.model) == (self._builder.device, self._network.config.name)
            if mine and key.bucket in names:
                if again == "build":
                    self._cache.forget(key)
                elif again == "check" and not record.problem:
                    self._cache.accept(record, None)

    def _climb(self, climb: _Climb) -> None:
        """Goes up to the first precision in which the bucket's engine passes; to torch where none does."""
        while climb.left:
            precision = climb.left.pop(0)
            key = self._key(climb.bucket, precision)
            try:
                record, program = self._engine(climb.bucket, key)
                if record.error is None:
                    comparison = self._check.stage(climb.bucket, program)
                    if comparison.problem:
                        raise EngineError(comparison.problem)
                    record = self._cache.accept(record, comparison.figure)
                    self._report(f"{climb.bucket.name} in {precision} passes: off by {record.error:.2%}")
                climb.record, climb.program = record, program
                return
            except EngineError as error:
                self._refuse(climb, key, str(error))
            except EngineResourceError as error:
                # Nothing is known of the engine, and a higher precision would need more memory still.
                reason = f"{error}; it is tried again at the next start"
                self._report(f"{climb.bucket.name} in {precision} is not used: {reason}")
                climb.refused.append((precision, reason))
                climb.left.clear()
            except EnginesMissingError as error:
                climb.refused.append((precision, str(error)))
        self._report(f"{climb.bucket.name}: runs in torch")

    def _refuse(self, climb: _Climb, key: EngineKey, reason: str) -> None:
        self._report(f"{climb.bucket.name} in {key.precision} is refused: {reason}")
        self._cache.refuse(key, reason)
        climb.record = climb.program = None
        climb.refused.append((key.precision, reason))

    def _engine(self, bucket: Bucket, key: EngineKey) -> tuple[EngineRecord, Program]:
        """The engine of a key, from the cache or newly built.

        Raises:
            EngineError: there can be none.
            EngineResourceError: it may be there, or be built, once the device has the memory for it.
            EnginesMissingError: it is not built, and must not be.
        """
        expected = signature(bucket, self._network.config)
        record = None
        try:
            record = self._cache.find(key)
            if record is not None and not record.problem:
                return record, self._builder.load(self._cache.read_plan(record), expected)
        except EngineError as error:
            what = "built anew" if self._may_build else "not used"
            self._report(f"{bucket.name} in {key.precision} is {what}: {error}")
            record = None
        if record is not None:
            raise EngineError(record.problem)
        plan, seconds = self._build(bucket, key)
        return self._cache.store(key, plan, seconds), self._builder.load(plan, expected)

    def _build(self, bucket: Bucket, key: EngineKey) -> tuple[bytes, float]:
        if not self._may_build:
            raise EnginesMissingError("it is not built")
        graph = self._graphs(bucket, key.precision)
        title = f"building {bucket.name} in {key.precision}"
        self._report(f"{title} ({self._turn}) ...")
        started = time.monotonic()
        with BuildProgress(title, self._cancelled) as progress:
            plan = build_interruptibly(
                lambda: self._builder.build(graph.path, key.precision, progress), self._cancelled
            )
        return plan, time.monotonic() - started

    def _prove(self, climbs: Sequence[_Climb], trusting: bool) -> str:
        """Lets the tracker run on the engines, and raises those that spoil it, until it tracks well."""
        while True:
            used = [climb for climb in climbs if climb.program is not None]
            if not used:
                return "nothing to check"
            records = [climb.record for climb in used if climb.record is not None]
            known = self._cache.proof(records)
            if known is not None and trusting:
                return known
            problem, least = self._track(used)
            if not problem:
                outcome = f"tracks the reference clip as float32 does, mask IoU {least:.4f} or more"
                self._cache.prove(records, outcome)
                return outcome
            self._report(f"the tracker fails its check: {problem}")
            culprit = self._find_culprit(used)
            assert culprit.record is not None
            self._refuse(culprit, culprit.record.key, f"with it the tracker fails: {problem}")
            self._climb(culprit)

    def _find_culprit(self, used: Sequence[_Climb]) -> _Climb:
        """The engine with which alone the tracker fails; where none does, the one with the largest error."""
        for climb in used:
            if self._track([climb])[0]:
                return climb
        return max(used, key=lambda climb: climb.verdict().error or 0.0)

    def _track(self, used: Sequence[_Climb]) -> tuple[str, float]:
        """What is wrong with what the tracker finds with some engines, and the least IoU of a mask."""
        try:
            comparison = self._check.tracker(
                self._backend(used), {climb.bucket.objects for climb in used} | {1}
            )
        except EngineError as error:
            return str(error), 0.0
        return comparison.problem, comparison.figure

    def _backend(self, climbs: Iterable[_Climb]) -> StagedBackend:
        programs = {climb.bucket: climb.program for climb in climbs if climb.program is not None}
        return StagedBackend(self._network, programs, f"TensorRT {self._builder.device.tensorrt}")

    def _key(self, bucket: Bucket, precision: str) -> EngineKey:
        return EngineKey(
            device=self._builder.device,
            model=self._network.config.name,
            bucket=bucket.name,
            precision=precision,
            graph=self._graphs(bucket, precision).sha256,
        )

    def _missing(self, buckets: Sequence[Bucket], precision: str) -> list[Bucket]:
        """Buckets of whose engines nothing is known, or nothing that can be read."""
        missing = []
        for bucket in buckets:
            try:
                if self._cache.find(self._key(bucket, precision)) is None:
                    missing.append(bucket)
            except (EngineError, EnginesMissingError):
                missing.append(bucket)
        return missing

    def _announce(self, missing: Sequence[Bucket], buckets: Sequence[Bucket], precision: str) -> None:
        """Tells what will be built, and what it takes, before it begins."""
        device = self._builder.device
        if not missing:
            self._report(f"{device}: {len(buckets)} engines are known from earlier, in {self._cache.folder}")
            return
        free, total = self._builder.device_memory()
        folders = {self._graphs(bucket, precision).path.parent for bucket in missing}
        weights = sum((folder / WEIGHTS).stat().st_size for folder in folders)
        buffers = sum(_buffers(bucket, self._network) for bucket in buckets)
        limit = f"{self._builder.workspace / _GIB:.2f} GiB" if self._builder.workspace else "no limit"
        known = [self._cache.typical_seconds(device, bucket.name) for bucket in missing]
        measured = [seconds for seconds in known if seconds is not None]
        if measured:
            duration = f"about {sum(measured) / len(measured) * len(missing) / 60:.0f} min, as the last time"
        else:
            duration = "none was built on this GPU yet, so the time is unknown: up to some minutes each"
        self._report(
            f"{device}: {len(missing)} of {len(buckets)} engines are to be built in {precision} "
            f"({duration}). Memory of the device: {free / _GIB:.1f} of {total / _GIB:.1f} GiB are free; "
            f"weights {weights / _GIB:.2f} GiB, inputs and outputs {buffers / _GIB:.2f} GiB, "
            f"workspace of a layer: {limit}"
        )


def _buffers(bucket: Bucket, network: Sam2Network) -> int:
    """Bytes of a bucket's inputs and outputs."""
    expected = signature(bucket, network.config)
    specs = [*expected.inputs.values(), *expected.outputs.values()]
    return sum(prod(spec.shape) * spec.dtype.itemsize for spec in specs)
