"""Outlines made of polygons, as people draw them and COCO keeps them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def fill_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of an image of `size` (H, W) whose centres lie in one of the polygons: bool [H, W].

    polygons: each x0, y0, x1, y1, ... [px], at least three corners; (0, 0) is the outer corner of the top
    left pixel. What lies outside of the image is cut off. Where a polygon crosses itself, inside is what has
    an odd number of edges on its left.

    Raises:
        ValueError: a polygon is not pairs of coordinates of three or more corners.
    """
    mask = np.zeros(size, bool)
    for polygon in polygons:
        corners = np.asarray(polygon, np.float64)
        if corners.ndim != 1 or corners.size < 6 or corners.size % 2 or not np.isfinite(corners).all():
            raise ValueError("a polygon is not x0, y0, x1, y1, ... of three or more corners")
        mask |= _fill(corners.reshape(-1, 2), size)
    return mask


def _fill(corners: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """One polygon [P, 2]. Where an edge crosses a row of centres, inside and outside change places."""
    height, width = size
    changes = np.zeros((height, width + 1), np.uint8)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        first, last = np.ceil(np.clip(np.sort([y0, y1]), 0, height) - 0.5).astype(int)
        rows = np.arange(first, last)
        if rows.size:
            crossings = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            columns = np.ceil(np.clip(crossings, 0, width) - 0.5).astype(int)
            changes[rows, columns] ^= 1
    return np.bitwise_xor.accumulate(changes, axis=1)[:, :width].astype(bool)
