"""What goes wrong while a camera runs: logged now and then, and kept for the diagnostics."""

from __future__ import annotations

import threading
import time
from typing import Any

_LOG_PERIOD = 5.0  # a problem that stays is logged once in this time [s]
_RECENT = 10.0  # a problem counts as present for this time after it last occurred [s]


class Problems:
    """The problems of one camera, each under a kind of its own. Safe to use from any thread."""

    def __init__(self, logger: Any, camera: str) -> None:
        self._logger = logger
        self._camera = camera
        self._lock = threading.Lock()
        self._logged: dict[str, float] = {}
        self._latest: dict[str, tuple[float, str]] = {}

    def report(self, kind: str, text: str) -> None:
        """Notes a problem, and logs it unless its kind was logged a moment ago."""
        now = time.monotonic()
        with self._lock:
            self._latest[kind] = now, text
            quiet = now - self._logged.get(kind, -_LOG_PERIOD) < _LOG_PERIOD
            if not quiet:
                self._logged[kind] = now
        if not quiet:
            self._logger.warning(f"{self._camera}: {kind}: {text}")

    def recent(self) -> list[str]:
        """The problems of the last seconds, newest first."""
        earliest = time.monotonic() - _RECENT
        with self._lock:
            entries = sorted(self._latest.items(), key=lambda item: item[1][0], reverse=True)
        return [f"{kind}: {text}" for kind, (when, text) in entries if when >= earliest]
