"""Futures that coroutines in an rclpy executor can await."""

from __future__ import annotations

from typing import Any

from rclpy.task import Future


def awaitable_future(executor: Any) -> Future:
    """A future of an executor that wakes it when done, from whatever thread it is set.

    An executor looks at its waiting coroutines only when something else wakes it. A done callback does.
    """
    future = Future(executor=executor)
    future.add_done_callback(lambda _: None)
    return future
