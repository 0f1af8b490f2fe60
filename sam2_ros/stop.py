"""How a program is told to stop, by a signal or by another thread."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Callable, Iterator


class Stop(threading.Event):
    """An event that a signal handler may set; at most one thread waits for it.

    `threading.Event.set` takes a lock there, and waits for ever where the code that the signal interrupted
    holds it: the event's own `wait`, or the handler of a signal just before. Putting something into a
    `SimpleQueue` is safe at any moment.
    """

    def __init__(self) -> None:
        super().__init__()
        self._asked = False
        self._wakeups: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        self._asked = True
        self._wakeups.put(None)

    def is_set(self) -> bool:
        return self._asked

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is set, or for so long [s]; returns whether it is set."""
        if not self._asked:
            with contextlib.suppress(queue.Empty):
                self._wakeups.get(timeout=timeout)
        return self._asked


@contextlib.contextmanager
def heeding_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Within this context, for the main thread, SIGINT and SIGTERM call `stop`; after it they do nothing.

    A program that ends gives signals their default effect back and only then unloads its libraries, which
    takes seconds: a second SIGINT, as it comes under launch, would kill it there. Ignored ones stay ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop())
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
