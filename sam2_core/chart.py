"""Line charts of quantities from 0 to 1, for training curves and reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .drawing import Colour

WIDTH, HEIGHT, MARGIN = 960, 420, 56
_LEGEND = 150  # px from one line's name to the next
_TEXT: Colour = (60, 60, 60)
_GRID: Colour = (225, 225, 225)


@dataclass(frozen=True)
class Line:
    """One quantity; what lies above 1 is drawn at 1."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: Colour
    marked: bool = False
    """Whether every point has a dot."""


def draw_chart(lines: Sequence[Line], across: str, ticks: Sequence[float]) -> NDArray[np.uint8]:
    """A chart, uint8 [HEIGHT, WIDTH, 3] RGB.

    Args:
        lines: their points lie within the ticks.
        across: what the horizontal axis counts.
        ticks: at least two values of that axis to write, rising; it reaches from the first to the last.
    """
    chart = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    scale = np.array([(WIDTH - 2 * MARGIN) / (ticks[-1] - ticks[0]), -(HEIGHT - 2 * MARGIN)])
    origin = np.array([MARGIN - ticks[0] * scale[0], HEIGHT - MARGIN])
    for tenth in range(0, 11, 2):
        y = round(origin[1] + scale[1] * tenth / 10)
        cv2.line(chart, (MARGIN, y), (WIDTH - MARGIN, y), _GRID, 1)
        _write(chart, f"{tenth / 10:.1f}", (12, y + 5))
    for tick in ticks:
        _write(chart, f"{tick:.0f}", (round(origin[0] + scale[0] * tick) - 15, HEIGHT - MARGIN + 22))
    _write(chart, across, (WIDTH // 2 - 4 * len(across), HEIGHT - 10))
    for index, line in enumerate(lines):
        values = np.asarray(line.points, np.float64).clip(max=[np.inf, 1.0])
        pixels = (origin + scale * values).round().astype(np.int32)
        cv2.polylines(chart, [pixels], False, line.colour, 2, cv2.LINE_AA)
        for x, y in pixels if line.marked else ():
            cv2.circle(chart, (int(x), int(y)), 4, line.colour, cv2.FILLED, cv2.LINE_AA)
        _write(chart, line.name, (MARGIN + _LEGEND * index, 30), line.colour)
    return chart


def _write(chart: NDArray[np.uint8], text: str, corner: tuple[int, int], colour: Colour = _TEXT) -> None:
    cv2.putText(chart, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
