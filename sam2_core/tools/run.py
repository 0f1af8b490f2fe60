"""One run over a recording, and how an interrupted one goes on where it was."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..files import write_durably
from ..tracking import FrameResult
from .journal import Journal

_CHECKPOINT_SECONDS = 10.0
_ABOUT = "run.json"
_LAYOUT = {"layout of progress.pt": 3}
"""Part of every run's identity: what an earlier version kept of the tracker cannot be taken up."""


class RunError(ValueError):
    """A folder cannot be used for a run; the message says why."""


def is_run(folder: Path, subject: str) -> bool:
    """Whether a folder is the place of a run whose identity has a `subject`: `bag`, `video`."""
    try:
        return subject in _read_identity(folder)
    except (OSError, RunError):
        return False


def claim(folder: Path, identity: dict[str, Any], restart: bool, progress: Iterable[Path]) -> None:
    """Makes a folder the place of one run, which `run.json` in it describes.

    Args:
        folder: made if it is missing.
        identity: what makes the run what it is (video, prompts, model); one of the same identity goes on.
        restart: forget what is there.
        progress: the files that say how far a run is; they are removed where a new one begins.

    Raises:
        RunError: the folder holds a run of another identity, or a `run.json` that cannot be read.
    """
    about = folder / _ABOUT
    folder.mkdir(parents=True, exist_ok=True)
    if restart or not about.exists():
        for path in progress:
            path.unlink(missing_ok=True)
        write_durably(about, f"{json.dumps(identity, indent=1)}\n".encode())
    before = _read_identity(folder)
    other = [key for key, value in identity.items() if before.get(key) != value]
    if other:
        raise RunError(
            f"{folder} holds a run with another {' and another '.join(other)}; "
            "allowed: another folder, or --restart to write over it"
        )


def _read_identity(folder: Path) -> dict[str, Any]:
    """What `claim` wrote. Raises RunError where it cannot be read."""
    about = folder / _ABOUT
    try:
        identity = json.loads(about.read_text())
    except ValueError:
        identity = None
    if not isinstance(identity, dict):
        raise RunError(
            f"{about} is damaged, so the run in {folder} is unknown; "
            "allowed: another folder, or --restart to write over it"
        )
    return identity


class Run:
    """A run in its folder: `run.json`, the masks in `tracks.jsonl`, and in `progress.pt` how far it is.

    Args:
        folder, identity, restart: as `claim` has them.
        device: where the network runs.

    Raises:
        RunError: as `claim` has it, or the folder lacks a part of what was tracked.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], restart: bool, device: str) -> None:
        self._progress = folder / "progress.pt"
        claim(folder, {**identity, **_LAYOUT}, restart, [self._progress])
        saved: dict[str, Any] = {"bytes": 0, "state": None}
        tracks = folder / "tracks.jsonl"
        if self._progress.exists():
            saved = torch.load(self._progress, map_location=device, weights_only=True)
            if not tracks.exists() or tracks.stat().st_size < saved["bytes"]:
                raise RunError(f"{tracks} is shorter than when the run was left; allowed: --restart")
        self.journal = Journal(tracks, saved["bytes"])
        self.state: Any = saved["state"]
        """What the tracker needs to go on with the first frame that is not in the journal; None at first."""

    def record(
        self, results: Iterable[tuple[int, FrameResult]], total: int, state: Callable[[int], Any], unit: str
    ) -> None:
        """Adds to the journal what is found; however it ends, the next run can go on from there.

        Args:
            results: frames, each with what was found on it, that follow those of the journal.
            total: frames that the journal holds in the end.
            state: what the tracker needs to go on after so many frames of the journal; plain values and
                tensors.
            unit: what a frame is called.
        """
        saved_at = time.monotonic()
        try:
            with tqdm(total=total, initial=self.journal.lines, desc="tracking", unit=unit) as bar:
                for frame, result in results:
                    self.journal.append(frame, result)
                    bar.update()
                    if time.monotonic() - saved_at > _CHECKPOINT_SECONDS:
                        self._save(state(self.journal.lines))
                        saved_at = time.monotonic()
        finally:
            self._save(state(self.journal.lines))

    def _save(self, state: Any) -> None:
        self.journal.sync()
        packed = io.BytesIO()
        # Straight to a full disk it would fail with another error than OSError.
        torch.save({"bytes": self.journal.size, "state": state}, packed)
        write_durably(self._progress, packed.getbuffer())
