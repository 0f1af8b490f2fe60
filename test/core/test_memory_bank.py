"""The memory of a stream: of constant size, in place, and right for every frame that may be tracked again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from random_weights import tracking_network
from scenario import Delegate, EncodedOnce, clip
from torch import Tensor

from sam2_core.backends import Backend
from sam2_core.tracking import FrameResult, PointPrompt, StreamingTracker, TrackerOptions

FRAMES = clip(12)
CLICK = PointPrompt([[160, 120]], [1])
OTHER_CLICK = PointPrompt([[60, 60]], [1])
BOX = PointPrompt(box=[40, 50, 150, 200])
RING = 8 + 15
"""Held frames, and how far back the oldest of them reads."""
ROW = 2 * 32 * 8 * 8 + 4 * (128 + 32 * 32 + 2)
"""Bytes of one memory: map, pointer, logits, score, IoU."""


@pytest.fixture(scope="module")
def network() -> Backend:
    """The smallest configuration, whose objects come and go."""
    return EncodedOnce(tracking_network("sam2_pico", FRAMES, 128, "both signs"))


def feed(tracker: StreamingTracker, indices: Sequence[int]) -> list[FrameResult]:
    return [tracker.track(FRAMES[index % len(FRAMES)], index) for index in indices]


def test_the_memory_is_full_after_as_many_frames_as_may_still_be_read(network: Backend) -> None:
    tracker = StreamingTracker(network)
    sizes = []
    for index in range(60):
        feed(tracker, [index])
        if index in (0, 4):
            tracker.add_prompt(CLICK if index else BOX)
        if index in (30, 45):
            tracker.add_prompt(OTHER_CLICK, object_id=1)
        sizes.append(tracker.memory_bytes)
    assert sizes[4 : 4 + RING + 1] == sorted(set(sizes[4:]))
    assert set(sizes[4 + RING :]) == {sizes[-1]}


def test_memories_are_written_into_the_same_places_for_ever(network: Backend) -> None:
    tracker = StreamingTracker(network)
    feed(tracker, [0])
    tracker.add_prompt(BOX)
    (tracked,) = tracker._objects.values()
    places = set()
    tensors = {tensor.data_ptr() for tensor in tracker._arena.tensors}
    for index in range(1, 80):
        feed(tracker, [index])
        memory = tracked.bank.recent[index]
        places.add((memory.map.data_ptr(), memory.pointer.data_ptr(), memory.logits.data_ptr()))
    assert len(places) == RING
    assert tensors == {tensor.data_ptr() for tensor in tracker._arena.tensors}
    assert sorted(tracked.bank.recent) == list(range(80 - RING, 80))
    assert list(tracked.bank.conditioning) == [0]


def test_an_answer_stays_as_it_was_while_tracking_goes_on(network: Backend) -> None:
    tracker = StreamingTracker(network)
    feed(tracker, [0])
    answers = [tracker.add_prompt(BOX), *(feed(tracker, [index])[0].objects[0] for index in range(1, 5))]
    before = [answer.logits.copy() for answer in answers]
    feed(tracker, range(5, 40))
    for answer, logits in zip(answers, before, strict=True):
        np.testing.assert_array_equal(answer.logits, logits)


def test_the_oldest_held_frame_can_be_corrected_after_any_time(network: Backend) -> None:
    held, corrected = 3, 50
    in_time, late = (StreamingTracker(network, TrackerOptions(held_frames=held)) for _ in range(2))
    for tracker in (in_time, late):
        feed(tracker, [0])
        tracker.add_prompt(BOX)
        feed(tracker, range(1, corrected + 1))
    newest = corrected + held - 1
    expected = in_time.add_prompt(OTHER_CLICK, object_id=1)
    feed(in_time, range(corrected + 1, newest + 1))
    feed(late, range(corrected + 1, newest + 1))
    assert late.held_stamps[0] == corrected
    answer = late.add_prompt(OTHER_CLICK, object_id=1, stamp=corrected)
    np.testing.assert_array_equal(answer.logits, expected.logits)
    for index in range(newest + 1, newest + 4):
        one, other = (feed(tracker, [index])[0].objects[0] for tracker in (late, in_time))
        np.testing.assert_array_equal(one.logits, other.logits)


def test_of_the_conditioning_frames_the_first_and_the_newest_are_kept(network: Backend) -> None:
    tracker = StreamingTracker(network, TrackerOptions(held_frames=6, max_conditioning_frames=3))
    feed(tracker, range(6))
    first = tracker.add_prompt(CLICK, stamp=5).id
    (tracked,) = tracker._objects.values()
    kept = []
    for stamp in (4, 3, 2, 1):
        tracker.add_prompt(CLICK, object_id=first, stamp=stamp)
        kept.append(sorted(tracked.bank.conditioning))
    assert kept == [[4, 5], [3, 4, 5], [2, 4, 5], [1, 4, 5]]
    # What is no longer a conditioning frame is read like any other.
    assert sorted(tracked.bank.recent) == [2, 3]


def rows(tracker: StreamingTracker) -> list[int]:
    """The arena's rows in which the memories of all objects lie."""
    banks = [tracked.bank for tracked in tracker._objects.values()]
    return [memory.row for bank in banks for memory in (*bank.recent.values(), *bank.conditioning.values())]


def test_every_memory_has_a_row_of_its_own(network: Backend) -> None:
    tracker = StreamingTracker(network)
    for index, prompt in enumerate((CLICK, BOX, OTHER_CLICK)):
        feed(tracker, [index])
        tracker.add_prompt(prompt)
    capacity = tracker._arena.capacity
    for index in range(3, 40):
        feed(tracker, [index])
        if index % 10 == 0:
            # Is tracked again from there.
            tracker.add_prompt(CLICK, object_id=2, stamp=index - 5)
        assert len(rows(tracker)) == len(set(rows(tracker))) == tracker.memory_bytes // ROW
    assert tracker._arena.capacity == capacity


def test_the_rows_of_a_removed_object_are_taken_by_the_next(network: Backend) -> None:
    tracker = StreamingTracker(network)
    feed(tracker, [0])
    for prompt in (CLICK, BOX):
        tracker.add_prompt(prompt)
    feed(tracker, range(1, 30))
    capacity, held = tracker._arena.capacity, tracker.memory_bytes
    freed = set(rows(tracker))
    for start in range(30, 150, 30):
        tracker.remove_object(tracker.objects[0].id)
        assert tracker.memory_bytes == held // 2
        tracker.add_prompt(BOX)
        feed(tracker, range(start, start + 30))
        assert (tracker._arena.capacity, tracker.memory_bytes) == (capacity, held)
    assert len(freed & set(rows(tracker))) > RING


class Failing(Delegate):
    """Fails on some frames, when almost all has been computed."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.fails = False

    def encode_memory(
        self, embedding: Tensor, logits: Tensor, score: Tensor, binarize: bool = False
    ) -> Tensor:
        if self.fails:
            raise RuntimeError("no")
        return self.backend.encode_memory(embedding, logits, score, binarize)


def test_frames_that_fail_leave_nothing_behind(network: Backend) -> None:
    backend = Failing(network)
    tracker = StreamingTracker(backend)
    feed(tracker, [0])
    for prompt in (CLICK, BOX):
        tracker.add_prompt(prompt)
    for index in range(1, 90):
        backend.fails = index % 4 == 0
        if backend.fails:
            before = tracker.memory_bytes
            with pytest.raises(RuntimeError, match="no"):
                feed(tracker, [index])
            assert tracker.memory_bytes == before
            with pytest.raises(RuntimeError, match="no"):
                tracker.add_prompt(OTHER_CLICK)
            assert tracker.memory_bytes == before
        else:
            assert len(feed(tracker, [index])[0].objects) == 2
    # The prompted frame, and the last ones that did not fail.
    assert len(rows(tracker)) == tracker.memory_bytes // ROW == 2 * (1 + RING)
