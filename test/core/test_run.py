"""Runs that go on where they were left: after Ctrl-C, a full disk, a power cut."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from interrupts import files_up_to

from sam2_core.tools import journal
from sam2_core.tools.run import Run, RunError
from sam2_core.tracking import FrameResult

IDENTITY = {"video": "clip.mp4"}
COUNT = 4


def results(first: int) -> Iterator[tuple[int, FrameResult]]:
    for frame in range(first, COUNT):
        yield frame, FrameResult(0, (4, 4), ())


def record(folder: Path) -> None:
    """A run whose state is how many frames it has tracked."""
    run = Run(folder, IDENTITY, restart=False, device="cpu")
    with run.journal:
        run.record(results(run.journal.lines), COUNT, lambda frames: frames, "frame")


def frames(folder: Path) -> list[int]:
    return [json.loads(line)["frame"] for line in (folder / "tracks.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("text", ["", '{"video": "cl', "[]", "\xff"])
def test_a_damaged_description_is_named(tmp_path: Path, text: str) -> None:
    record(tmp_path)
    (tmp_path / "run.json").write_text(text, "latin-1")
    with pytest.raises(RunError, match=r"run\.json is damaged, .*; allowed: another folder, or --restart"):
        record(tmp_path)
    with Run(tmp_path, IDENTITY, restart=True, device="cpu").journal as tracks:
        assert tracks.lines == 0
    record(tmp_path)
    assert frames(tmp_path) == list(range(COUNT))


def test_a_run_that_a_full_disk_kept_from_beginning_can_begin(tmp_path: Path) -> None:
    begin = f"from sam2_core.tools.run import claim; claim(Path({str(tmp_path)!r}), {IDENTITY}, False, [])"
    command = [sys.executable, "-c", f"from pathlib import Path; {begin}"]
    failed = subprocess.run(command, preexec_fn=files_up_to(0), capture_output=True, text=True)
    assert "OSError" in failed.stderr
    assert not list(tmp_path.iterdir())
    record(tmp_path)
    assert frames(tmp_path) == list(range(COUNT))


def test_what_a_power_cut_leaves_can_be_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    safe: dict[int, int] = {}
    """Bytes that the disk is known to hold, by inode."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        status = os.fstat(descriptor)
        safe[status.st_ino] = status.st_size

    monkeypatch.setattr(os, "fsync", fsync)
    record(tmp_path)
    for path in tmp_path.iterdir():
        os.truncate(path, safe.get(path.stat().st_ino, 0))
    run = Run(tmp_path, IDENTITY, restart=False, device="cpu")
    with run.journal:
        assert run.state == run.journal.lines == COUNT


def test_wherever_ctrl_c_arrives_the_state_is_that_of_the_frames_that_are_kept(tmp_path: Path) -> None:
    for steps in range(1, 1000):
        folder = tmp_path / str(steps)
        if not interrupt(folder, steps):
            break
        run = Run(folder, IDENTITY, restart=False, device="cpu")
        with run.journal:
            assert (run.state or 0) == run.journal.lines
        record(folder)
        assert frames(folder) == list(range(COUNT))
    assert steps > 10 * COUNT


def interrupt(folder: Path, steps: int) -> bool:
    """Ctrl-C after so many lines of the journal's code; False if the run was done before."""
    left = steps

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != journal.__file__ or frame.f_code.co_name == "__exit__":
            return None
        left -= event == "line"
        if left == 0:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        record(folder)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False
