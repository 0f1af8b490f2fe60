"""Automatic masklets (paper, section 5.1): masks found on one frame, tracked from there, then filtered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np

from ..tracking import FrameResult, MaskPrompt, MaskTooSmallError, ObjectResult, StreamingTracker
from .records import AutomaticMask


def start_masklets(
    tracker: StreamingTracker, found: Sequence[AutomaticMask], stamp: int | None = None
) -> Iterator[ObjectResult]:
    """Starts tracking masks, in their order, until the tracker is full; each when it is asked for.

    Args:
        tracker: holds the frame that they were found on.
        found: masks of that frame; empty ones, and those too small for the network, are passed over.
        stamp: of the frame [ns]; None means the newest.

    Yields:
        The new objects on that frame, in the order of their masks.

    Raises:
        FrameNotHeldError: the frame is not held (any more).
        PromptError: the masks are not of the frame's size.
    """
    for one in found:
        if len(tracker.objects) >= tracker.options.max_objects:
            return
        if not one.area:
            continue
        with suppress(MaskTooSmallError):
            yield tracker.add_prompt(MaskPrompt(one.mask), stamp=stamp)


class MaskletFilter:
    """Judges masklets by what became of them over the frames that it is shown, in constant memory.

    Args:
        least_visible: fraction of the frames on which a masklet must be visible.
        most_overlap: of two masklets whose masks, over all frames, overlap by more than this IoU, the one
            with the smaller id stays.
    """

    def __init__(self, least_visible: float = 0.5, most_overlap: float = 0.7) -> None:
        self._least_visible = least_visible
        self._most_overlap = most_overlap
        self._frames = 0
        self._visible: dict[int, int] = {}
        self._common: dict[tuple[int, int], int] = {}

    def add(self, result: FrameResult) -> None:
        """Takes the objects of the next frame."""
        self._frames += 1
        for one in result.objects:
            self._visible[one.id] = self._visible.get(one.id, 0) + one.visible
        if not result.objects:
            return
        pixels = np.stack([(one.logits > 0).ravel() for one in result.objects]).astype(np.float32)
        common = (pixels @ pixels.T).astype(int)
        for i, one in enumerate(result.objects):
            for j, other in enumerate(result.objects[: i + 1]):
                pair = other.id, one.id
                self._common[pair] = self._common.get(pair, 0) + int(common[i, j])

    def kept(self) -> list[int]:
        """Ids of the masklets that are worth keeping, in order."""
        kept: list[int] = []
        for object_id in sorted(self._visible):
            seen = self._visible[object_id] >= self._least_visible * self._frames
            if seen and not any(self._overlap(other, object_id) > self._most_overlap for other in kept):
                kept.append(object_id)
        return kept

    def _overlap(self, one: int, other: int) -> float:
        """IoU of two masklets over all frames; 0 where they never met."""
        common = self._common.get((one, other), 0)
        union = self._common[one, one] + self._common[other, other] - common
        return common / union if union else 0.0
