"""The one thread in which the network runs, for all cameras and all service calls."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol, TypeVar

import torch
from rclpy.task import Future

from sam2_ros.futures import awaitable_future

Result = TypeVar("Result")


class NotActiveError(RuntimeError):
    """The node is not in the state `active`, in which alone it answers."""


class Source(Protocol):
    """Something that frames arrive at."""

    @property
    def waiting(self) -> bool: ...
    def track_waiting(self) -> None: ...


class InferenceThread:
    """Tracks the newest frames of several cameras in turn, and between two frames does what it is asked.

    A command that takes long is a generator: it is gone on with from one `yield` to the next between frames.

    Trackers are not thread-safe: everything that touches one is done here. Starts at once.
    """

    def __init__(self, threads: int) -> None:
        """threads: CPU threads of the network, 0 for one per core."""
        self._condition = threading.Condition()
        self._sources: Sequence[Source] = ()
        self._turn = 0
        self._commands: deque[tuple[Callable[[], Any], Future]] = deque()
        self._long: deque[tuple[Generator[Any, None, Any], Future]] = deque()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, args=(threads,), name="inference")
        self._thread.start()

    def serve(self, sources: Sequence[Source]) -> None:
        """Sets the cameras whose frames are tracked."""
        with self._condition:
            self._sources = tuple(sources)
            self._condition.notify()

    def notify(self) -> None:
        """Says that a frame is waiting."""
        with self._condition:
            self._condition.notify()

    def submit(self, command: Callable[[], Result], executor: Any) -> Future:
        """Runs a command in this thread; the future, to be awaited in the executor, holds what it returns."""
        future = awaitable_future(executor)
        with self._condition:
            self._commands.append((command, future))
            self._condition.notify()
        return future

    def stop(self) -> None:
        """Ends the thread after what it is doing; what still waits is answered with an error."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join()
        for _, future in (*self._commands, *self._long):
            future.set_exception(NotActiveError("the node was cleaned up or ended meanwhile"))

    def _run(self, threads: int) -> None:
        if threads:
            torch.set_num_threads(threads)
        while True:
            with self._condition:
                self._condition.wait_for(self._something_to_do)
                if self._stopping:
                    return
                commands = [self._commands.popleft() for _ in range(len(self._commands))]
                source = self._next_source()
            for command, future in commands:
                try:
                    result = command()
                except Exception as error:  # whoever awaits the future deals with it
                    future.set_exception(error)
                else:
                    if isinstance(result, Generator):
                        self._long.append((result, future))
                    else:
                        future.set_result(result)
            if source is not None:
                source.track_waiting()
            if self._long:
                self._go_on(*self._long.popleft())

    def _go_on(self, command: Generator[Any, None, Any], future: Future) -> None:
        """Does a step of a long command; another one has the next turn."""
        try:
            next(command)
        except StopIteration as end:
            future.set_result(end.value)
        except Exception as error:  # as above
            future.set_exception(error)
        else:
            self._long.append((command, future))

    def _something_to_do(self) -> bool:
        waiting = any(source.waiting for source in self._sources)
        return self._stopping or waiting or bool(self._commands or self._long)

    def _next_source(self) -> Source | None:
        """The next source with a waiting frame, in turn, so that a fast camera does not starve others."""
        for step in range(1, len(self._sources) + 1):
            index = (self._turn + step) % len(self._sources)
            if self._sources[index].waiting:
                self._turn = index
                return self._sources[index]
        return None
