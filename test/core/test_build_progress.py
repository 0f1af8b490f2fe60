"""The building of an engine in a thread of its own: how far it is, and how it ends."""

from __future__ import annotations

import threading

import pytest

from sam2_core.backends.build_progress import BuildProgress, build_interruptibly
from sam2_core.backends.engines import EngineError


def test_progress_counts_nested_phases(capsys: pytest.CaptureFixture[str]) -> None:
    with BuildProgress("building x", threading.Event()) as progress:
        progress.phase_start("all", None, 2)
        progress.phase_start("first", "all", 4)
        assert progress.step_complete("first", 0)
        assert progress.percent == 12.5
        progress.phase_finish("first")
        assert progress.step_complete("all", 0)
        assert progress.percent == 50
        progress.phase_start("second", "all", 1)
        progress.cancelled.set()
        assert not progress.step_complete("second", 0)
        progress.phase_finish("all")
        assert progress.percent == 100
    assert "building x" in capsys.readouterr().err


def test_an_error_of_the_building_thread_arrives() -> None:
    def fail() -> None:
        raise EngineError("no")

    with pytest.raises(EngineError, match="no"):
        build_interruptibly(fail, threading.Event())
