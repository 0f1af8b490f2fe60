"""How one object was found on the frames of a video, and its J and F over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from .davis import Statistics, boundary_accuracy, statistics
from .metrics import mask_iou


@dataclass(frozen=True)
class ObjectFrames:
    """How one object was found; the fields have one entry for each scored frame."""

    frames: list[str] = field(default_factory=list)
    """The frames' names."""
    at: list[int] = field(default_factory=list)
    """Their numbers in the video, from 0."""
    j: list[float] = field(default_factory=list)
    f: list[float] = field(default_factory=list)
    shown: list[bool] = field(default_factory=list)
    """Whether the tracker calls the object visible."""
    in_view: list[bool] = field(default_factory=list)
    """Whether the true mask has a pixel."""
    counts: list[bool] = field(default_factory=list)
    """Whether J and F count; the other entries tell of visibility only."""

    def add(
        self,
        frame: str,
        at: int,
        predicted: NDArray[np.bool_],
        truth: NDArray[np.bool_],
        shown: bool,
        counts: bool = True,
    ) -> None:
        """Scores one more frame; the masks are bool [H, W]."""
        self.frames.append(frame)
        self.at.append(at)
        self.j.append(mask_iou(predicted, truth))
        self.f.append(boundary_accuracy(predicted, truth))
        self.shown.append(shown)
        self.in_view.append(bool(truth.any()))
        self.counts.append(counts)

    def between(self) -> ObjectFrames:
        """Without the first and the last frame, which DAVIS does not score."""
        return ObjectFrames(*(values[1:-1] for values in vars(self).values()))


@dataclass(frozen=True)
class Scores:
    """J and F of an object over its frames, or their means over objects."""

    j: Statistics
    f: Statistics

    @property
    def jf(self) -> float:
        """J&F: the mean of both means."""
        return (self.j.mean + self.f.mean) / 2


def summarise_object(found: ObjectFrames) -> Scores:
    """The scores of one object with at least one frame that counts."""
    j, f = (
        [value for value, counts in zip(values, found.counts, strict=True) if counts]
        for values in (found.j, found.f)
    )
    return Scores(statistics(j), statistics(f))


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """The mean over objects, each of the same weight.

    Raises:
        ValueError: there are none.
    """
    if not scores:
        raise ValueError("there is no object to take the mean of")
    return Scores(_mean([one.j for one in scores]), _mean([one.f for one in scores]))


def _mean(ones: Sequence[Statistics]) -> Statistics:
    return Statistics(
        fmean(one.mean for one in ones), fmean(one.recall for one in ones), fmean(one.decay for one in ones)
    )
