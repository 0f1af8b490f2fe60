"""Outlines made of polygons, as people draw them and COCO keeps them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

_FINENESS = 8  # parts of a pixel's side that an edge is placed to


def fill_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of an image of `size` (H, W) whose centres lie in one of the polygons: bool [H, W].

    polygons: each x0, y0, x1, y1, ... [px], at least three corners; (0, 0) is the outer corner of the top
    left pixel. What lies outside of the image is cut off.

    Raises:
        ValueError: a polygon is not pairs of coordinates of three or more corners.
    """
    mask = np.zeros(size, bool)
    for polygon in polygons:
        corners = np.asarray(polygon, np.float64)
        if corners.ndim != 1 or corners.size < 6 or corners.size % 2 or not np.isfinite(corners).all():
            raise ValueError("a polygon is not x0, y0, x1, y1, ... of three or more corners")
        corners = corners.reshape(-1, 2)
        left, top = np.floor(corners.min(axis=0)).astype(int).clip(0, (size[1], size[0]))
        right, bottom = np.ceil(corners.max(axis=0)).astype(int).clip(0, (size[1], size[0]))
        if left >= right or top >= bottom:
            continue
        fine = np.zeros(((bottom - top) * _FINENESS, (right - left) * _FINENESS), np.uint8)
        cv2.fillPoly(fine, [((corners - (left, top)) * _FINENESS).round().astype(np.int32)], 1)
        middle = _FINENESS // 2
        mask[top:bottom, left:right] |= fine[middle::_FINENESS, middle::_FINENESS] > 0
    return mask
