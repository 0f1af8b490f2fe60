"""Parallel processes that put the same questions to many videos or images."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from types import TracebackType
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from ..backends import Backend, LoadedBackend

Job = TypeVar("Job")
Result = TypeVar("Result")
Advance = Callable[[], None]
Work = Callable[["Backend | None", Job, Advance], Result]
_POLL_SECONDS = 0.2


class WorkerError(RuntimeError):
    """A worker ended by itself."""


class Workers:
    """A context manager: `count` processes, each with a backend of its own and a fixed number of threads.

    What a job gives does not depend on `count`: sums round in an order that depends on the threads alone. One
    worker is this process itself.

    Args:
        count: processes, 1 or more.
        threads: of torch in each of them.
        load: gives the backend; None where the jobs need none. It is sent to the processes.
    """

    def __init__(self, count: int, threads: int, load: Callable[[], LoadedBackend | None]) -> None:
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(threads)
        self.loaded = load()
        self._pool: ProcessPoolExecutor | None = None
        if count > 1:
            context = multiprocessing.get_context("spawn")  # a forked one would share torch's threads
            self._steps = context.Value("q", 0)
            self._stop = context.Event()
            self._pool = ProcessPoolExecutor(
                count, context, _prepare, (threads, load, self._steps, self._stop)
            )

    @property
    def backend(self) -> Backend | None:
        return self.loaded.backend if self.loaded else None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch.set_num_threads(self._threads_before)
        if self._pool:
            self._stop.set()
            self._pool.shutdown(cancel_futures=True)

    def map(self, work: Work[Job, Result], jobs: Sequence[Job], bar: tqdm) -> Iterator[tuple[Job, Result]]:
        """Does all jobs; yields each with its result when it is done, in no certain order.

        Args:
            work: a function that can be sent to another process; it gets the backend, the job, and what to
                call after each step.
            bar: shows the steps.

        Raises:
            WorkerError: a process died.
        """
        if self._pool is None:
            for job in jobs:
                yield job, work(self.backend, job, bar.update)
            return
        before = self._steps.value
        try:
            pending = {self._pool.submit(_do, work, job): job for job in jobs}
            while pending:
                done: set[Future[Any]] = wait(pending, _POLL_SECONDS, FIRST_COMPLETED).done
                bar.update(self._steps.value - before - bar.n)
                for future in done:
                    yield pending.pop(future), future.result()
        except BrokenProcessPool as error:
            raise WorkerError(
                "a worker died, perhaps for want of memory; allowed: fewer --workers"
            ) from error


class _StoppedError(Exception):
    """The parent does not want the result any more."""


_backend: Backend | None = None
_steps: Synchronized[int]
_stop: Event


def _prepare(
    threads: int, load: Callable[[], LoadedBackend | None], steps: Synchronized[int], stop: Event
) -> None:
    """Makes a new process a worker."""
    global _backend, _steps, _stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it and says what to do
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    loaded = load()
    _backend, _steps, _stop = loaded.backend if loaded else None, steps, stop


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(work: Work[Job, Result], job: Job) -> Result:
    return work(_backend, job, _advance)


def _advance() -> None:
    with _steps.get_lock():
        _steps.value += 1
    if _stop.is_set():
        raise _StoppedError
