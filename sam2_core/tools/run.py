"""One run over a video, and how an interrupted one goes on where it was."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..files import replacing
from ..tracking import VideoSegmenter
from ..tracking.archive import pack, unpack
from ..tracking.passes import Pass
from .journal import Journal

_CHECKPOINT_SECONDS = 10.0


class RunError(ValueError):
    """A folder cannot be used for a run; the message says why."""


def claim(folder: Path, identity: dict[str, Any], restart: bool, progress: Iterable[Path]) -> None:
    """Makes a folder the place of one run, which `run.json` in it describes.

    Args:
        folder: made if it is missing.
        identity: what makes the run what it is (video, prompts, model); one of the same identity goes on.
        restart: forget what is there.
        progress: the files that say how far a run is; they are removed where a new one begins.

    Raises:
        RunError: the folder holds a run of another identity.
    """
    about = folder / "run.json"
    folder.mkdir(parents=True, exist_ok=True)
    if restart or not about.exists():
        for path in progress:
            path.unlink(missing_ok=True)
        about.write_text(json.dumps(identity, indent=1) + "\n")
    before = json.loads(about.read_text())
    other = [key for key, value in identity.items() if before.get(key) != value]
    if other:
        raise RunError(
            f"{folder} holds a run with another {' and another '.join(other)}; "
            "allowed: another folder, or --restart to write over it"
        )


class Run:
    """The state of a run in its folder: `run.json`, `tracks.jsonl`, and in `progress.pt` how far it is.

    Args:
        folder, identity, restart: as `claim` has them.
        device: where the network runs.

    Raises:
        RunError: the folder holds a run of another identity.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], restart: bool, device: str) -> None:
        self._progress = folder / "progress.pt"
        claim(folder, identity, restart, [self._progress])
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
        with replacing(self._progress) as temporary:
            temporary.write_bytes(packed.getbuffer())


def _after(passes: Iterable[Pass], done: int) -> Iterator[Pass]:
    """What is left of the passes when `done` frames of them are done."""
    for one in passes:
        left = one.frames[done:]
        done = max(done - len(one.frames), 0)
        if len(left):
            yield Pass(left, one.objects)
