"""Counts, rates and times of one camera, written by two threads and read by the diagnostics."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from enum import Enum

import numpy as np

_WINDOW = 5.0  # time over which rates and latencies are taken [s]


class Drop(str, Enum):
    """Why a frame that arrived was not tracked."""

    NEWER = "newer frame arrived"
    BAD_IMAGE = "bad image"
    LATE = "stamp went back"
    REPEATED = "stamp repeated"
    FAILED = "tracking failed"


@dataclass(frozen=True)
class Snapshot:
    """The state of one camera's statistics. Rates in Hz and times in ms are over the last 5 s, 0 if none."""

    received: int
    tracked: int
    dropped: dict[Drop, int]
    input_rate: float
    output_rate: float
    latency_median: float
    latency_p95: float
    network_time: float  # median time of a frame in the tracker
    own_time: float  # median time of a frame in conversion and publication


@dataclass(frozen=True)
class _Tracked:
    when: float
    latency: float
    network_time: float
    own_time: float


class Statistics:
    """Statistics of one camera. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = 0
        self._dropped: Counter[Drop] = Counter()
        self._tracked = 0
        self._arrivals: deque[float] = deque()
        self._frames: deque[_Tracked] = deque()
        self._last_arrival = time.monotonic()

    def begin(self) -> None:
        """Images may come from now on; without any, silence counts from here."""
        with self._lock:
            self._last_arrival = time.monotonic()

    def count_received(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._received += 1
            self._last_arrival = now
            self._arrivals.append(now)
            while self._arrivals[0] < now - _WINDOW:
                self._arrivals.popleft()

    @property
    def received(self) -> int:
        """Images so far."""
        with self._lock:
            return self._received

    def silence(self) -> float:
        """Time since the last image, or since images may come, whichever is later [s]."""
        return time.monotonic() - self._last_arrival

    def count_dropped(self, reason: Drop) -> None:
        with self._lock:
            self._dropped[reason] += 1

    def count_tracked(self, latency: float, network_time: float, own_time: float) -> None:
        """One frame is published; all times in seconds, latency from its stamp to now."""
        now = time.monotonic()
        with self._lock:
            self._tracked += 1
            self._frames.append(_Tracked(now, latency, network_time, own_time))
            while self._frames[0].when < now - _WINDOW:
                self._frames.popleft()

    def snapshot(self) -> Snapshot:
        now = time.monotonic()
        with self._lock:
            arrivals = [when for when in self._arrivals if when >= now - _WINDOW]
            frames = [frame for frame in self._frames if frame.when >= now - _WINDOW]
            counts = self._received, self._tracked, dict(self._dropped)
        milliseconds = 1000 * np.array(
            [(frame.latency, frame.network_time, frame.own_time) for frame in frames] or [(0.0, 0.0, 0.0)]
        )
        latency, network_time, own_time = np.median(milliseconds, axis=0)
        return Snapshot(
            *counts,
            input_rate=_rate(arrivals),
            output_rate=_rate([frame.when for frame in frames]),
            latency_median=float(latency),
            latency_p95=float(np.percentile(milliseconds[:, 0], 95)),
            network_time=float(network_time),
            own_time=float(own_time),
        )


def _rate(times: list[float]) -> float:
    """Events per second, from the intervals between them."""
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0
