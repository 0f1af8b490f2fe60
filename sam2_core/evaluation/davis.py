"""J and F with the definitions of DAVIS 2017 (Perazzi et al. 2016, section 3; Pont-Tuset et al. 2017).

The region similarity J of two masks is `metrics.mask_iou`. The boundary accuracy F asks which share of the
predicted boundary lies close to the true one (precision), which share of the true one close to the predicted
one (recall), and is their harmonic mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..masks import tight_box

BOUNDARY_TOLERANCE = 0.008  # of the image's diagonal


def boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The boundary of a mask, one pixel wide: bool [H, W] of a mask bool [H, W].

    A pixel is on it that differs from its neighbour to the right, below, or below to the right; the border of
    the image is no boundary.
    """
    beyond = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return (mask != beyond[:-1, 1:]) | (mask != beyond[1:, :-1]) | (mask != beyond[1:, 1:])


def boundary_radius(size: tuple[int, int]) -> int:
    """How far apart boundary pixels may lie that match [px], on an image of `size` (H, W)."""
    return math.ceil(BOUNDARY_TOLERANCE * math.hypot(*size))


def boundary_accuracy(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """F of two masks [H, W], 0 to 1; 1 where neither has a boundary, 0 where only one has.

    Raises:
        ValueError: the masks differ in size.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"the masks differ in size: {predicted.shape} and {truth.shape}")
    lines = np.stack([boundary(predicted), boundary(truth)])
    counts = np.count_nonzero(lines, axis=(1, 2))
    if not counts.all():
        return float(not counts.any())
    box = tight_box(lines[0] | lines[1])
    assert box is not None
    x0, y0, x1, y1 = box
    found, wanted = np.ascontiguousarray(lines[:, y0:y1, x0:x1])  # no pixel outside can match
    radius = boundary_radius((truth.shape[0], truth.shape[1]))
    precision = np.count_nonzero(found & _dilate(wanted, radius)) / counts[0]
    recall = np.count_nonzero(wanted & _dilate(found, radius)) / counts[1]
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


@dataclass(frozen=True)
class Statistics:
    """A measure over the frames of a sequence, each field 0 to 1 (`decay`: -1 to 1)."""

    mean: float
    recall: float
    """The share of frames above 0.5."""
    decay: float
    """The mean over the first quarter of the frames minus that over the last one."""


def statistics(values: Sequence[float]) -> Statistics:
    """Mean, recall and decay of a measure on successive frames.

    The quarters are those of the public evaluation code: both ends belong to a quarter, so that neighbours
    share a frame. (That code counts frames in eight bits; its decay of a longer video means nothing.)

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("there is no frame to take statistics of")
    array = np.asarray(values, np.float64)
    # Halves are rounded up; np.round alone would round them to even.
    ends = np.round(np.linspace(1, array.size, 5) + 1e-10).astype(int) - 1
    first, last = array[: ends[1] + 1], array[ends[3] :]
    return Statistics(
        mean=float(array.mean()),
        recall=float(np.mean(array > 0.5)),
        decay=float(first.mean() - last.mean()),
    )


def _dilate(line: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """The pixels at most `radius` away from one that is set."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.uint8)
    return cv2.dilate(line.view(np.uint8), disk).astype(bool)
