"""One evaluation in its folder: what is kept of every item, how it goes on, and its report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image
from tqdm import tqdm

from ..backends import Backend
from ..files import describe_files, replacing
from ..video import VideoError
from .mask_folders import DatasetFileError
from .protocols import Found, Report, ScoringProtocol
from .workers import Advance, Workers

AnyProtocol = ScoringProtocol[Any, Any]
_NOT_STRICT = "--strict does not allow these faults:"


class EvaluationError(ValueError):
    """An evaluation that cannot go on or has no result; the message says why."""


@dataclass(frozen=True)
class Evaluation:
    """A dataset that is scored by a protocol.

    What is found of an item is kept in a file as soon as it is known, and not looked for again unless a file
    that it comes from changes.
    """

    protocol: AnyProtocol
    workers: Workers
    out: Path
    """Where everything goes."""
    strict: bool
    """Whether a fault of the dataset is an error; else what it concerns is told and left out.

    A fault of another tracker's masks always is: without the videos that it lost, its score would be higher.
    """

    def run(
        self, items: Sequence[Any], faults: Sequence[str], about: Mapping[str, Any]
    ) -> tuple[str, list[str]]:
        """Evaluates what is not evaluated yet, and reports on all.

        Args:
            items: of the protocol.
            faults: of the dataset's index, as "file: reason".
            about: what is evaluated on what.

        Returns:
            The outcome in one line, and all that is wrong with the files.

        Raises:
            EvaluationError: there is a fault that is not allowed, or no object to score.
            WorkerError: a process died.
        """
        stamps = {item.name: self._stamp(item) for item in items}
        kept = self._problems_kept(stamps)
        read = self._read([item for item in items if item.name not in kept])
        problems = {name: kept[name] if name in kept else read[name][1] for name in stamps}
        told = [*faults, *chain.from_iterable(problems.values())]
        if told and self.strict:
            raise EvaluationError("\n".join([_NOT_STRICT, *told]))
        subjects = {name: subject for name, (subject, _) in read.items() if subject is not None}
        failed = self._score(subjects, stamps, problems)
        if failed and (self.strict or self.workers.backend is None):
            rule = _NOT_STRICT if self.strict else "masks to score must not have these faults:"
            raise EvaluationError("\n".join([rule, *sorted(failed.values())]))
        problems |= {name: [*problems[name], fault] for name, fault in failed.items()}
        return self._report(items, faults, problems, about)

    def _stamp(self, item: Any) -> str:
        """Another one when a file that the item's figures come from was changed or replaced."""
        return describe_files(self.protocol.files(self.workers.backend, item))

    def _problems_kept(self, stamps: Mapping[str, str]) -> dict[str, list[str]]:
        """Faults by item that is done; what was kept of one whose files have changed is removed."""
        problems = {}
        for name, stamp in stamps.items():
            path = self._kept(name)
            kept = json.loads(path.read_text()) if path.exists() else {}
            if kept.get("stamp") == stamp:
                problems[name] = kept["problems"]
            else:
                path.unlink(missing_ok=True)
        return problems

    def _read(self, items: Sequence[Any]) -> dict[str, tuple[Any | None, list[str]]]:
        """Subjects and faults by item: nothing is tracked before all faults are known."""
        with tqdm(total=len(items), desc="reading masks", disable=not items) as bar:
            found = list(self.workers.map(partial(_read_one, self.protocol), items, bar))
        return {item.name: outcome for item, outcome in found}

    def _score(
        self, subjects: Mapping[str, Any], stamps: Mapping[str, str], problems: Mapping[str, list[str]]
    ) -> dict[str, str]:
        """Evaluates subjects and keeps what is found; returns by item why it could not be evaluated."""
        failed = {}
        total = sum(self.protocol.steps(subject) for subject in subjects.values())
        work = partial(_score_one, self.protocol)
        with tqdm(total=total, desc="scoring", unit="frame", disable=not subjects) as bar:
            for (name, _), found in self.workers.map(work, list(subjects.items()), bar):
                if isinstance(found, str):
                    failed[name] = found
                    continue
                kept = {"stamp": stamps[name], "objects": found, "problems": problems[name]}
                _write_json(self._kept(name), kept)
        return failed

    def _report(
        self,
        items: Sequence[Any],
        faults: Sequence[str],
        problems: Mapping[str, list[str]],
        about: Mapping[str, Any],
    ) -> tuple[str, list[str]]:
        """Writes what is told of all items in which something was found."""
        told = [*faults, *chain.from_iterable(problems.values())]
        found: dict[str, Found] = {}
        for name in (item.name for item in items):
            if self._kept(name).exists() and (objects := json.loads(self._kept(name).read_text())["objects"]):
                found[name] = objects
        if not found:
            raise EvaluationError("\n".join([f"{self.out}: there is no object to score", *told]))
        left_out = sum(bool(problems[item.name]) for item in items if item.name not in found)
        report = self.protocol.report({**about, "left out because of faults": left_out}, found)
        pictures = self._draw(report, {item.name: item for item in items}, found, told)
        for name, chart in report.charts.items():
            Image.fromarray(chart).save(self.out / name)
        _write_json(self.out / "results.json", report.figures(told))
        with replacing(self.out / "report.md") as temporary:
            temporary.write_text(report.text(told, pictures))
        left = f"  left out because of faults: {left_out} of {len(items)}" if left_out else ""
        return f"{report.summary}{left}  {self.out / 'report.md'}", told

    def _draw(
        self, report: Report, items: Mapping[str, Any], found: Mapping[str, Found], problems: list[str]
    ) -> dict[str, str]:
        """Draws the worst cases; returns their paths by title. Adds what cannot be drawn to `problems`."""
        folder = self.out / "worst"
        folder.mkdir(exist_ok=True)
        for old in folder.glob("*.png"):
            old.unlink()
        pictures = {}
        for title, name, part in tqdm(report.worst, "drawing the worst", unit="picture"):
            try:
                subject, faults = self.protocol.read(items[name])
                if subject is None:
                    raise VideoError(faults[0])
                picture = self.protocol.draw(self.workers.backend, subject, part, found[name])
            except (DatasetFileError, VideoError) as error:
                problems.append(f"{error}; so there is no picture of {title}")
                continue
            path = folder / f"{_file_name(title)}.png"
            Image.fromarray(picture).save(path)
            pictures[title] = f"worst/{quote(path.name)}"
        return pictures

    def _kept(self, item: str) -> Path:
        """What is found of an item and wrong with it; there once it is done."""
        return self.out / self.protocol.kept_in / f"{_file_name(item)}.json"


def _read_one(
    protocol: AnyProtocol, _: Backend | None, item: Any, advance: Advance
) -> tuple[Any | None, list[str]]:
    outcome = protocol.read(item)
    advance()
    return outcome


def _score_one(
    protocol: AnyProtocol, backend: Backend | None, job: tuple[str, Any], advance: Advance
) -> Found | str:
    """What is found of a subject, or why nothing is."""
    try:
        return protocol.evaluate(backend, job[1], advance)
    except (DatasetFileError, VideoError) as error:
        return str(error)


def _file_name(name: str) -> str:
    """A name as that of a file, which no other name has."""
    return quote(name, safe=" ,")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
