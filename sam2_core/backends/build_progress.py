"""How far the building of an engine is, and how it is cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from tqdm import tqdm

_Built = TypeVar("_Built")

_LOOK = 0.1
"""How often the waiting thread looks for an interrupt [s]."""


class BuildCancelledError(RuntimeError):
    """The building of an engine was cancelled."""


class BuildProgress:
    """A progress bar for nested phases, as TensorRT reports them from any of its threads; a context manager.

    The methods that report are those of `tensorrt.IProgressMonitor`. None of them raises: they are called
    from C++ that no exception may pass.

    Args:
        title: what is built.
        cancelled: set by whoever wants the building to stop.
    """

    def __init__(self, title: str, cancelled: threading.Event) -> None:
        self.cancelled = cancelled
        self._lock = threading.Lock()
        self._phases: dict[str, _Phase] = {}
        self._bar = tqdm(total=100, desc=title, bar_format="{desc} |{bar}| {n:.0f} % {elapsed} {postfix}")

    @property
    def percent(self) -> float:
        """How much of the work is done, 0 to 100; never falls."""
        return float(self._bar.n)

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """A phase begins, within a step of another one or on its own."""
        with self._lock:
            parent = self._phases.get(parent_phase or "")
            self._phases[phase_name] = _Phase(parent, max(num_steps, 1))
            self._show(phase_name)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """A step is done, counted from 0; returns whether to go on."""
        with self._lock:
            if phase_name in self._phases:
                self._phases[phase_name].done = step + 1
                self._show(phase_name)
        return not self.cancelled.is_set()

    def phase_finish(self, phase_name: str) -> None:
        """A phase is done, or was given up."""
        with self._lock:
            if phase_name in self._phases:
                self._phases[phase_name].done = self._phases[phase_name].steps
                self._show(phase_name)
                del self._phases[phase_name]

    def _show(self, phase_name: str) -> None:
        share = self._phases[phase_name].share_of_all()
        with suppress(OSError, ValueError):  # nobody can see the bar: stderr was closed
            self._bar.set_postfix_str(phase_name, refresh=False)
            self._bar.update(max(100 * share - self._bar.n, 0))

    def __enter__(self) -> BuildProgress:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._bar.close()


class _Phase:
    """A phase and how many of its steps are done."""

    def __init__(self, parent: _Phase | None, steps: int) -> None:
        self.parent = parent
        self.steps = steps
        self.done = 0

    def share_of_all(self) -> float:
        """Share of the whole that is done, 0 to 1, if all before this phase is done."""
        share = min(self.done / self.steps, 1.0)
        if self.parent is None:
            return share
        before = self.parent
        # A phase lies within its parent's present step.
        return min(before.share_of_all() + share * before.size_of_step(), 1.0)

    def size_of_step(self) -> float:
        """Share of the whole that one step is."""
        return (1.0 if self.parent is None else self.parent.size_of_step()) / self.steps


def build_interruptibly(build: Callable[[], _Built], cancelled: threading.Event) -> _Built:
    """Builds in a thread of its own, so that Ctrl-C can cancel it.

    Python tells of Ctrl-C between two of its own instructions; the thread that is inside TensorRT has none.

    Args:
        build: what to run; it ends soon after `cancelled` is set.
        cancelled: set here at Ctrl-C.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; the building has ended.
    """
    results: list[_Built] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(build())
        except BaseException as error:
            errors.append(error)

    worker = threading.Thread(target=work, name="engine builder")
    try:
        worker.start()
        while worker.is_alive():
            worker.join(_LOOK)
    except KeyboardInterrupt:  # perhaps as early as within `start`
        cancelled.set()
        while worker.is_alive():
            worker.join(_LOOK)
        raise
    if errors:
        raise errors[0]
    return results[0]
