"""Region similarity J (Perazzi et al. 2016, DAVIS, eq. 1) and visibility."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def mask_iou(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks [H, W]; 1 where both are empty.

    Raises:
        ValueError: the masks differ in size.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"the masks differ in size: {predicted.shape} and {truth.shape}")
    union = np.count_nonzero(predicted | truth)
    return float(np.count_nonzero(predicted & truth) / union) if union else 1.0


@dataclass(frozen=True)
class Outcome:
    """One object on one frame."""

    iou: float
    predicted_visible: bool
    visible: bool


@dataclass(frozen=True)
class Summary:
    """Scores over many object-frames; precision or recall is NaN where it has no cases."""

    object_frames: int
    mean_iou: float
    visibility_accuracy: float
    visibility_precision: float  # of those called visible, the share that is
    visibility_recall: float  # of those visible, the share called so


def compare(predicted: NDArray[np.bool_], predicted_visible: bool, truth: NDArray[np.bool_]) -> Outcome:
    """Score one object on one frame; the mask of an object called hidden counts as empty."""
    shown = predicted if predicted_visible else np.zeros_like(predicted)
    return Outcome(mask_iou(shown, truth), predicted_visible, bool(truth.any()))


def summarise(outcomes: Sequence[Outcome]) -> Summary:
    """Mean over object-frames, each of the same weight.

    Raises:
        ValueError: there are none.
    """
    if not outcomes:
        raise ValueError("there are no object-frames to summarise")
    predicted = np.array([outcome.predicted_visible for outcome in outcomes])
    visible = np.array([outcome.visible for outcome in outcomes])
    both = np.count_nonzero(predicted & visible)
    return Summary(
        object_frames=len(outcomes),
        mean_iou=float(np.mean([outcome.iou for outcome in outcomes])),
        visibility_accuracy=float(np.mean(predicted == visible)),
        visibility_precision=_share(both, np.count_nonzero(predicted)),
        visibility_recall=_share(both, np.count_nonzero(visible)),
    )


def _share(part: np.integer, whole: np.integer) -> float:
    return float(part / whole) if whole else float("nan")
