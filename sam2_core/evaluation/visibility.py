"""How well a tracker knows whether an object is in view, and how soon it finds one that comes back.

An object *returns* on a frame that shows it, after it was in view and then hidden. It is *found again* on
the first frame from there on, before it hides once more, on which the IoU of its mask is above 0.5. The time
until then is counted in frames of the video, 0 where the mask is right at once. Where not every frame is
annotated, both ends are known to the next annotated frame only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .object_scores import ObjectFrames

FOUND_IOU = 0.5
"""As for the recall of J: above this an object counts as found."""


@dataclass(frozen=True)
class Return:
    """An object that comes back into view."""

    hidden: int
    """For how many frames it was hidden."""
    until_found: int | None
    """Frames until it was found again; None where it was not, before it hid once more or the video ended."""


@dataclass(frozen=True)
class Visibility:
    """The verdicts on one or more objects; None where there is no case."""

    accuracy: float | None
    """The share of object-frames on which visible or hidden was told rightly."""
    precision: float | None
    """Of those called visible, the share that is."""
    recall: float | None
    """Of those visible, the share called so."""
    hidden_frames: int
    returns: int
    found_again: float | None
    """The share of returns after which the object was found again."""
    frames_until_found: float | None
    """The mean over those found again."""


def judge(objects: Sequence[ObjectFrames]) -> Visibility:
    """The verdicts on all frames of some objects, each frame of the same weight."""
    called = np.array([value for one in objects for value in one.shown], bool)
    truly = np.array([value for one in objects for value in one.in_view], bool)
    both = int(np.count_nonzero(called & truly))
    times = [one.until_found for each in objects for one in returns(each)]
    found = [time for time in times if time is not None]
    return Visibility(
        accuracy=_share(int(np.count_nonzero(called == truly)), len(truly)),
        precision=_share(both, int(np.count_nonzero(called))),
        recall=_share(both, int(np.count_nonzero(truly))),
        hidden_frames=int(np.count_nonzero(~truly)),
        returns=len(times),
        found_again=_share(len(found), len(times)),
        frames_until_found=_share(sum(found), len(found)),
    )


def returns(found: ObjectFrames) -> list[Return]:
    """Every return of an object that was in view before its first scored frame.

    All are, but for one of SA-V's that a tracker shows too early: its first appearance counts as a return.
    """
    outcomes: list[Return] = []
    left: int | None = None  # the frame on which it was first hidden
    back: int | None = None  # the frame on which it returned, while it is not found yet
    hidden = 0
    for at, in_view, iou in zip(found.at, found.in_view, found.j, strict=True):
        if not in_view:
            if back is not None:
                outcomes.append(Return(hidden, None))
            left, back = (at if left is None else left), None
            continue
        if left is not None:
            hidden, left, back = at - left, None, at
        if back is not None and iou > FOUND_IOU:
            outcomes.append(Return(hidden, at - back))
            back = None
    if back is not None:
        outcomes.append(Return(hidden, None))
    return outcomes


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
