"""One run over a video: which passes it takes, and how an interrupted one goes on where it was."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..tracking import VideoSegmenter
from ..tracking.archive import pack, unpack
from .journal import Journal

_CHECKPOINT_SECONDS = 10.0


class RunError(ValueError):
    """A folder cannot be used for a run; the message says why."""


@dataclass(frozen=True)
class Pass:
    """Frames that are tracked one after the other, for the same objects."""

    frames: range
    objects: tuple[int, ...]


def plan_passes(first_frames: dict[int, int], length: int, forward: bool, backward: bool) -> list[Pass]:
    """The passes that track every object, from its first prompted frame on, through a video.

    Args:
        first_frames: for each object id, the first frame on which it was prompted.
        length: frames of the video.
        forward: whether objects are tracked to the end.
        backward: whether they are tracked to the beginning.
    """
    starts = sorted(set(first_frames.values()))
    passes = []
    if forward:
        for start, end in zip(starts, [*starts[1:], length], strict=True):
            known = tuple(key for key, first in first_frames.items() if first <= start)
            passes.append(Pass(range(start, end), known))
    if backward:
        for end, start in reversed(list(zip([0, *starts[:-1]], starts, strict=True))):
            known = tuple(key for key, first in first_frames.items() if first >= start)
            passes.append(Pass(range(start - 1, end - 1, -1), known))
    return [one for one in passes if len(one.frames)]


class Run:
    """The state of a run in its folder: `run.json`, `tracks.jsonl`, and in `progress.pt` how far it is.

    Args:
        folder: where the run lies; made if it is missing.
        identity: what makes this run what it is (video, prompts, model); one of the same identity goes on.
        restart: forget what is there.
        device: where the network runs.

    Raises:
        RunError: the folder holds a run of another identity.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], restart: bool, device: str) -> None:
        self._about = folder / "run.json"
        self._progress = folder / "progress.pt"
        folder.mkdir(parents=True, exist_ok=True)
        if restart or not self._about.exists():
            self._progress.unlink(missing_ok=True)
            self._about.write_text(json.dumps(identity, indent=1) + "\n")
        before = json.loads(self._about.read_text())
        other = [key for key, value in identity.items() if before.get(key) != value]
        if other:
            raise RunError(
                f"{folder} holds a run with another {' and another '.join(other)}; "
                "allowed: another folder, or --restart to write over it"
            )
        self._saved: dict[str, Any] = {"bytes": 0, "memories": {}}
        tracks = folder / "tracks.jsonl"
        if self._progress.exists():
            self._saved = torch.load(self._progress, map_location=device, weights_only=True)
            if not tracks.exists() or tracks.stat().st_size < self._saved["bytes"]:
                raise RunError(f"{tracks} is shorter than when the run was left; allowed: --restart")
        self.journal = Journal(tracks, self._saved["bytes"])

    def track(self, segmenter: VideoSegmenter, passes: list[Pass]) -> None:
        """Tracks what is not tracked yet; however it ends, the next call goes on from there."""
        done = self.journal.lines
        total = sum(len(one.frames) for one in passes)
        segmenter.restore(
            {key: [unpack(one) for one in ones] for key, ones in self._saved["memories"].items()}
        )
        bar = tqdm(total=total, initial=done, desc="tracking", unit="frame")
        saved_at = time.monotonic()
        try:
            with bar:
                for rest in _after(passes, done):
                    first, last = rest.frames[0], rest.frames[-1]
                    reverse = rest.frames.step < 0
                    for frame, result in segmenter.propagate(first, last, reverse, rest.objects):
                        self.journal.append(frame, result)
                        bar.update()
                        if time.monotonic() - saved_at > _CHECKPOINT_SECONDS:
                            self._save(segmenter, passes)
                            saved_at = time.monotonic()
        finally:
            self._save(segmenter, passes)

    def _save(self, segmenter: VideoSegmenter, passes: list[Pass]) -> None:
        """Remembers how far the run is, and all that the frames to come will read of what is tracked."""
        reads: set[int] = set()
        for rest in _after(passes, self.journal.lines):
            reads.update(segmenter.read_behind(rest.frames[0], rest.frames.step < 0))
        memories = segmenter.memories(reads)
        state = {
            "bytes": self.journal.size,
            "memories": {key: [pack(one) for one in ones] for key, ones in memories.items()},
        }
        packed = io.BytesIO()
        torch.save(state, packed)  # straight to a full disk it would fail with another error than OSError
        temporary = self._progress.with_suffix(".part")
        try:
            temporary.write_bytes(packed.getbuffer())
            temporary.replace(self._progress)
        finally:
            temporary.unlink(missing_ok=True)


def _after(passes: Iterable[Pass], done: int) -> Iterator[Pass]:
    """What is left of the passes when `done` frames of them are done."""
    for one in passes:
        left = one.frames[done:]
        done = max(done - len(one.frames), 0)
        if len(left):
            yield Pass(left, one.objects)
