"""Frames that fail, sessions that are left and gone on with, and frames that are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from random_weights import tracking_network
from scenario import Delegate, EncodedOnce, clip
from torch import Tensor

from sam2_core.backends import Backend
from sam2_core.tracking import FrameNotHeldError, PointPrompt, StreamingTracker, TrackerOptions

FRAMES = clip(6)
CLICK = PointPrompt([[160, 120]], [1])
OTHER_CLICK = PointPrompt([[60, 60]], [1])


@pytest.fixture(scope="module")
def network() -> Backend:
    """Its objects stay visible."""
    return EncodedOnce(tracking_network("sam2_pico", FRAMES, 128, "visible"))


class FailsOnce(Delegate):
    """Runs out of memory on one frame."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.fails = False

    def encode_memory(self, *arguments: Any, **options: Any) -> Tensor:
        if self.fails:
            raise MemoryError
        return self.backend.encode_memory(*arguments, **options)


def test_a_frame_that_fails_is_as_if_it_had_never_come(network: Backend) -> None:
    backend = FailsOnce(network)
    failing, other = StreamingTracker(backend), StreamingTracker(network)
    for tracker in (failing, other):
        tracker.track(FRAMES[0], 0)
        tracker.add_prompt(CLICK)
    backend.fails = True
    with pytest.raises(MemoryError):
        failing.track(FRAMES[1], 1)
    assert failing.held_stamps == (0,)
    backend.fails = False
    for index in (2, 3):
        found, expected = (tracker.track(FRAMES[index], index).objects[0] for tracker in (failing, other))
        assert np.array_equal(found.logits, expected.logits)


def test_a_saved_session_goes_on_as_if_it_had_not_been_left(network: Backend) -> None:
    whole, left, resumed = (StreamingTracker(network) for _ in range(3))
    for tracker in (whole, left):
        tracker.track(FRAMES[0], 0)
        tracker.add_prompt(CLICK, label="cup")
        tracker.track(FRAMES[1], 1)
    resumed.restore(left.save(2))
    assert resumed.objects == whole.objects
    for index in (2, 3):
        found, expected = (tracker.track(FRAMES[index], index).objects[0] for tracker in (resumed, whole))
        assert np.array_equal(found.logits, expected.logits)
    assert resumed.add_prompt(OTHER_CLICK).id == 2


def test_a_kept_frame_can_be_prompted_for_longer(network: Backend) -> None:
    tracker = StreamingTracker(network, TrackerOptions(held_frames=1))
    tracker.track(FRAMES[0], 0)
    with tracker.keep(tracker.held_frame()):
        tracker.track(FRAMES[1], 1)
        tracker.track(FRAMES[2], 2)
        assert tracker.held_stamps == (0, 2)
        assert tracker.add_prompt(CLICK, stamp=0).id == 1
    assert tracker.held_stamps == (2,)
    assert [one.id for one in tracker.track(FRAMES[3], 3).objects] == [1]
    with pytest.raises(FrameNotHeldError):
        tracker.add_prompt(CLICK, stamp=0)
