"""What the benchmarks have in common: clips without end, and times on a CPU or a GPU."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sam2_core.backends import Backend

sys.path.append(str(Path(__file__).parents[1] / "test" / "core"))

from scenario import Delegate, clip

STAGES = ("encode_image", "attend_memory", "decode_masks", "encode_memory")
FULL = 8
"""Frames after which seven maps are read."""


def there_and_back(count: int) -> list[NDArray[np.uint8]]:
    """So many images of the fidelity tests' clip, to and fro: its end does not jump to its start."""
    images = clip()
    images += images[-2:0:-1]
    return [images[index % len(images)] for index in range(count)]


@dataclass(frozen=True)
class Spread:
    """Of a time [ms]."""

    median: float
    p95: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        return cls(*(round(1e3 * float(np.percentile(seconds, percent)), 3) for percent in (50, 95)))


class Timed(Delegate):
    """Notes how long each call of a stage takes: on a GPU the time between two events of its stream."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._marks: dict[str, list[tuple[Any, Any]]] = defaultdict(list)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.backend, name)
        if name not in STAGES:
            return found

        def run(*arguments: Any, **options: Any) -> Any:
            started = self._mark()
            result = found(*arguments, **options)
            self._marks[name].append((started, self._mark()))
            return result

        return run

    def spreads(self, last: int) -> dict[str, Spread]:
        """Of the last so many calls of each stage; on a GPU everything must be done."""
        return {
            stage: Spread.of([self._seconds(*pair) for pair in self._marks[stage][-last:]])
            for stage in STAGES
        }

    def _mark(self) -> Any:
        if self.backend.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _seconds(self, start: Any, end: Any) -> float:
        return end - start if isinstance(start, float) else start.elapsed_time(end) / 1e3
