"""Where to click when no person does: into ground truth, or wherever the network sees a thing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sam2_core.simulated_user import deepest_point

Point = tuple[float, float]  # x, y [px]

_SMALLEST, _LARGEST = 0.005, 0.3  # share of the image that a thing covers
_MOST_SHARED = 0.3  # of a thing's pixels may belong to things chosen before


def inner_point(mask: np.ndarray) -> Point:
    """The centre of the pixel deepest inside a mask, bool [H, W], not empty: where a person clicks."""
    x, y, _ = deepest_point(mask)
    return x + 0.5, y + 0.5


def grid(height: int, width: int, rows: int = 5, columns: int = 5) -> list[Point]:
    """Evenly spread points over an image of a size, the middle one first."""
    points = [
        (width * (column + 0.5) / columns, height * (row + 0.5) / rows)
        for row in range(rows)
        for column in range(columns)
    ]
    return sorted(points, key=lambda point: np.hypot(point[0] - width / 2, point[1] - height / 2))


def choose_things(masks: Sequence[np.ndarray], qualities: Sequence[float], count: int) -> list[int]:
    """Indices of at most `count` masks, bool [H, W], best first: neither specks nor background, and apart."""
    chosen: list[int] = []
    taken = np.zeros(masks[0].shape, bool)
    for index in np.argsort(-np.asarray(qualities), kind="stable"):
        mask = masks[index]
        area = int(mask.sum())
        a_thing = _SMALLEST * mask.size <= area <= _LARGEST * mask.size
        if a_thing and (mask & taken).sum() <= _MOST_SHARED * area and len(chosen) < count:
            chosen.append(int(index))
            taken |= mask
    return chosen
