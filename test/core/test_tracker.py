"""What users of the streaming tracker rely on, whatever the weights are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from random_weights import tracking_network
from scenario import EncodedOnce, clip

from sam2_core.backends import Backend
from sam2_core.model import load_network
from sam2_core.tracking import (
    FrameNotHeldError,
    FrameResult,
    ImageSegmenter,
    MaskPrompt,
    MaskTooSmallError,
    ObjectResult,
    PointPrompt,
    Prompt,
    PromptError,
    StampError,
    StreamingTracker,
    TooManyObjectsError,
    TrackerOptions,
    TrackingError,
    UnknownObjectError,
)
from sam2_core.tracking.answers import object_results
from sam2_core.tracking.tracker import MAX_ID

FRAMES = clip(12)
CLICK = PointPrompt([[160, 120]], [1])
OTHER_CLICK = PointPrompt([[60, 60]], [1])
BOX = PointPrompt(box=[40, 50, 150, 200])
TINY_MASK = MaskPrompt(np.pad(np.ones((4, 4), bool), ((60, 176), (100, 216))))
MASK = MaskPrompt(np.pad(np.ones((120, 120), bool), ((60, 60), (100, 100))))


@pytest.fixture(scope="module")
def network() -> Backend:
    """The smallest configuration, whose objects come and go."""
    return EncodedOnce(tracking_network("sam2_pico", FRAMES, 128, "both signs", seed=5))


@pytest.fixture
def tracker(network: Backend) -> StreamingTracker:
    return StreamingTracker(network)


def feed(
    tracker: StreamingTracker, frames: Sequence[NDArray[np.uint8]], first_stamp: int = 0
) -> list[FrameResult]:
    """Tracks frames whose stamps count up from one."""
    return [tracker.track(image, first_stamp + i) for i, image in enumerate(frames)]


def assert_identical(one: FrameResult, other: FrameResult) -> None:
    assert [found.id for found in one.objects] == [found.id for found in other.objects]
    for found, expected in zip(one.objects, other.objects, strict=True):
        assert found.score == expected.score
        np.testing.assert_array_equal(found.logits, expected.logits)


def assert_equal_but_for_rounding(found: ObjectResult, expected: ObjectResult) -> None:
    """Logits deviate by 5; a stored memory that rounds the other way moves them by some thousandths."""
    assert found.score == pytest.approx(expected.score, abs=0.02)
    np.testing.assert_allclose(found.logits, expected.logits, rtol=0, atol=0.02)


def test_without_objects_a_frame_has_none(tracker: StreamingTracker) -> None:
    result = tracker.track(FRAMES[0], 7)
    assert (result.stamp, result.size, result.objects) == (7, (240, 320), ())


def test_a_prompt_answers_with_the_mask_that_tracking_reports(tracker: StreamingTracker) -> None:
    tracker.track(FRAMES[0], 0)
    answer = tracker.add_prompt(BOX, label="cup")
    assert (answer.id, answer.label) == (1, "cup")
    assert answer.mask.shape == (240, 320)
    assert answer.mask.dtype == np.bool_
    (found,) = tracker.track(FRAMES[1], 1).objects
    assert (found.id, found.label, found.visible) == (1, "cup", found.score > 0)


@pytest.mark.parametrize("prompt", [CLICK, BOX], ids=["click", "box"])
def test_the_first_prompt_is_answered_as_on_a_single_image(prompt: PointPrompt) -> None:
    network = load_network()
    tracker, segmenter = StreamingTracker(network), ImageSegmenter(network)
    tracker.track(FRAMES[0], 0)
    segmenter.set_image(FRAMES[0])
    answer, single = tracker.add_prompt(prompt), segmenter.predict(prompt)
    assert answer.visible
    assert answer.score == pytest.approx(single.score, abs=1e-3)
    np.testing.assert_allclose(answer.logits, single.decoded[0], rtol=0, atol=1e-3)


def test_a_mask_prompt_comes_back_as_given(tracker: StreamingTracker) -> None:
    mask = MASK.mask
    tracker.track(FRAMES[0], 0)
    answer = tracker.add_prompt(MASK)
    assert answer.visible
    assert (answer.mask & mask).sum() / (answer.mask | mask).sum() > 0.95


def test_objects_that_are_not_visible_have_empty_masks(tracker: StreamingTracker) -> None:
    tracker.track(FRAMES[0], 0)
    for prompt in (CLICK, OTHER_CLICK, BOX):
        tracker.add_prompt(prompt)
    found = [one for result in feed(tracker, FRAMES[1:], 1) for one in result.objects]
    assert {one.visible for one in found} == {True, False}
    assert all(one.visible or not one.mask.any() for one in found)


def test_ids_are_never_reused_in_a_session(tracker: StreamingTracker) -> None:
    tracker.track(FRAMES[0], 0)
    assert [tracker.add_prompt(prompt).id for prompt in (CLICK, OTHER_CLICK, BOX)] == [1, 2, 3]
    tracker.remove_object(3)
    tracker.remove_object(1)
    assert tracker.add_prompt(CLICK, label="again").id == 4
    assert [(one.id, one.label) for one in tracker.objects] == [(2, ""), (4, "again")]
    assert [one.id for one in tracker.track(FRAMES[1], 1).objects] == [2, 4]


def test_reset_starts_a_new_session(tracker: StreamingTracker) -> None:
    feed(tracker, FRAMES[:3], 100)
    tracker.add_prompt(CLICK)
    tracker.reset()
    assert (tracker.objects, tracker.held_stamps, tracker.memory_bytes) == ((), (), 0)
    assert tracker.track(FRAMES[0], 5).objects == ()
    assert tracker.add_prompt(CLICK).id == 1


def test_a_session_after_reset_is_like_the_first(tracker: StreamingTracker) -> None:
    outcomes = []
    for _ in range(2):
        tracker.track(FRAMES[0], 0)
        tracker.add_prompt(BOX)
        outcomes.append(feed(tracker, FRAMES[1:5], 1)[-1])
        tracker.reset()
    assert_identical(*outcomes)


def test_an_object_knows_since_when_it_is_tracked(tracker: StreamingTracker) -> None:
    feed(tracker, FRAMES[:4])
    tracker.add_prompt(CLICK)
    tracker.add_prompt(BOX, stamp=1)
    assert [one.since for one in tracker.objects] == [3, 1]


def test_a_batch_gives_each_object_what_it_gets_alone(network: Backend) -> None:
    prompts = {0: CLICK, 2: BOX, 7: OTHER_CLICK}
    together = StreamingTracker(network)
    alone = {frame: StreamingTracker(network) for frame in prompts}
    for index, image in enumerate(FRAMES):
        result = together.track(image, index)
        for position, (start, single) in enumerate(alone.items()):
            expected = single.track(image, index)
            if start == index:
                assert_equal_but_for_rounding(
                    together.add_prompt(prompts[start]), single.add_prompt(prompts[start])
                )
            elif start < index:
                assert_equal_but_for_rounding(result.objects[position], expected.objects[0])


def test_removing_an_object_changes_nothing_for_the_others(network: Backend) -> None:
    kept, lonely = StreamingTracker(network), StreamingTracker(network)
    for tracker in (kept, lonely):
        tracker.track(FRAMES[0], 0)
    gone = kept.add_prompt(CLICK).id
    for tracker in (kept, lonely):
        tracker.add_prompt(BOX)
    kept.track(FRAMES[1], 1)
    lonely.track(FRAMES[1], 1)
    kept.remove_object(gone)
    for index in range(2, 8):
        (found,) = kept.track(FRAMES[index], index).objects
        (expected,) = lonely.track(FRAMES[index], index).objects
        assert_equal_but_for_rounding(found, expected)


def test_a_prompt_on_a_past_frame_is_as_if_given_in_time(network: Backend) -> None:
    in_time, late = StreamingTracker(network), StreamingTracker(network)
    feed(in_time, FRAMES[:4])
    first = in_time.add_prompt(BOX)
    feed(in_time, FRAMES[4:9], 4)
    feed(late, FRAMES[:9])
    answer = late.add_prompt(BOX, stamp=3)
    np.testing.assert_array_equal(answer.logits, first.logits)
    assert_identical(late.track(FRAMES[9], 9), in_time.track(FRAMES[9], 9))


def test_a_correction_on_a_past_frame_is_as_if_given_in_time(network: Backend) -> None:
    in_time, late = StreamingTracker(network), StreamingTracker(network)
    for tracker in (in_time, late):
        tracker.track(FRAMES[0], 0)
        tracker.add_prompt(CLICK)
        feed(tracker, FRAMES[1:5], 1)
    in_time.add_prompt(OTHER_CLICK, object_id=1)
    feed(in_time, FRAMES[5:8], 5)
    feed(late, FRAMES[5:8], 5)
    late.add_prompt(OTHER_CLICK, object_id=1, stamp=4)
    assert_identical(late.track(FRAMES[8], 8), in_time.track(FRAMES[8], 8))


@pytest.mark.parametrize(
    "options",
    [TrackerOptions(), TrackerOptions(max_conditioning_frames=1, lasting_corrections=True)],
    ids=["a recent memory", "once a conditioning frame"],
)
@pytest.mark.parametrize("prompt", [OTHER_CLICK, MASK], ids=["click", "mask"])
def test_a_correction_stays_when_an_older_frame_is_corrected(
    network: Backend, prompt: Prompt, options: TrackerOptions
) -> None:
    tracker = StreamingTracker(network, options)
    tracker.track(FRAMES[0], 0)
    tracker.add_prompt(CLICK)
    feed(tracker, FRAMES[1:8], 1)
    corrected = tracker.add_prompt(prompt, object_id=1, stamp=6)
    tracker.add_prompt(BOX, object_id=1, stamp=4)
    (tracked,) = tracker._objects.values()
    (kept,) = object_results(tracker.objects, [tracked.bank.recent[6]], corrected.size)
    np.testing.assert_array_equal(kept.logits, corrected.logits)


def test_a_frame_that_is_not_held_is_refused_with_the_oldest_held(network: Backend) -> None:
    tracker = StreamingTracker(network, TrackerOptions(held_frames=3))
    with pytest.raises(FrameNotHeldError) as refused:
        tracker.add_prompt(CLICK)
    assert refused.value.oldest is None
    feed(tracker, FRAMES[:6], 100)
    assert tracker.held_stamps == (103, 104, 105)
    for stamp in (102, 106):
        with pytest.raises(FrameNotHeldError, match="103") as refused:
            tracker.add_prompt(CLICK, stamp=stamp)
        assert refused.value.oldest == 103
    assert tracker.add_prompt(CLICK, stamp=103).id == 1


def wrong_requests() -> list[tuple[type[Exception], Callable[[StreamingTracker], object]]]:
    """Everything that a caller can get wrong about a tracker with objects 1 and 2 and frames 0 to 3."""
    small = np.ones((10, 10), bool)
    return [
        (StampError, lambda tracker: tracker.track(FRAMES[4], 3)),
        (StampError, lambda tracker: tracker.track(FRAMES[4], -1)),
        (ValueError, lambda tracker: tracker.track(FRAMES[4].astype(np.float32), 4)),
        (ValueError, lambda tracker: tracker.track(FRAMES[4][:, :, 0], 4)),
        (ValueError, lambda tracker: tracker.track(FRAMES[4][:0], 4)),
        (PromptError, lambda tracker: tracker.add_prompt(PointPrompt([[321, 0]], [1]))),
        (PromptError, lambda tracker: tracker.add_prompt(PointPrompt([[9, -1]], [1]), object_id=1)),
        (PromptError, lambda tracker: tracker.add_prompt(PointPrompt([[np.nan, 5]], [1]), object_id=1)),
        (PromptError, lambda tracker: tracker.add_prompt(PointPrompt(box=[0, 0, 400, 10]))),
        (PromptError, lambda tracker: tracker.add_prompt(MaskPrompt(small), object_id=2)),
        (MaskTooSmallError, lambda tracker: tracker.add_prompt(TINY_MASK, object_id=2)),
        (PromptError, lambda tracker: tracker.add_prompt(BOX, object_id=2, clear_previous=False)),
        (UnknownObjectError, lambda tracker: tracker.add_prompt(CLICK, object_id=3)),
        (UnknownObjectError, lambda tracker: tracker.add_prompt(CLICK, object_id=0)),
        (UnknownObjectError, lambda tracker: tracker.remove_object(3)),
        (FrameNotHeldError, lambda tracker: tracker.add_prompt(CLICK, object_id=1, stamp=99)),
        (TooManyObjectsError, lambda tracker: tracker.add_prompt(CLICK)),
    ]


def test_a_refused_request_leaves_no_trace(network: Backend) -> None:
    options = TrackerOptions(max_objects=2)
    asked, spared = StreamingTracker(network, options), StreamingTracker(network, options)
    for tracker in (asked, spared):
        feed(tracker, FRAMES[:2])
        tracker.add_prompt(CLICK)
        tracker.add_prompt(BOX)
        feed(tracker, FRAMES[2:4], 2)
        tracker.add_prompt(OTHER_CLICK, object_id=2)
    for error, request in wrong_requests():
        with pytest.raises(error) as refused:
            request(asked)
        assert isinstance(refused.value, ValueError)
    assert asked.held_stamps == spared.held_stamps
    assert asked.objects == spared.objects
    assert asked.memory_bytes == spared.memory_bytes
    for index in (4, 5):
        assert_identical(asked.track(FRAMES[index], index), spared.track(FRAMES[index], index))


@pytest.mark.parametrize(
    ("error", "request_", "said"),
    [
        (UnknownObjectError, lambda tracker: tracker.remove_object(5), "object id 5 .* allowed: 1"),
        (TooManyObjectsError, lambda tracker: tracker.add_prompt(BOX), "allowed: 1 at most"),
        (StampError, lambda tracker: tracker.track(FRAMES[1], 0), "stamp 0 ns; allowed: more than"),
        (
            PromptError,
            lambda tracker: tracker.add_prompt(PointPrompt([[9, 999]], [1]), 1),
            r"\(9, 999\).*240",
        ),
        (
            MaskTooSmallError,
            lambda tracker: tracker.add_prompt(TINY_MASK, 1),
            "mask of 16 pixels .* sam2_pico at 128 px; allowed: one that covers 10 x 7.5 pixels",
        ),
    ],
)
def test_a_refusal_names_the_value_and_what_is_allowed(
    network: Backend,
    error: type[TrackingError],
    request_: Callable[[StreamingTracker], object],
    said: str,
) -> None:
    tracker = StreamingTracker(network, TrackerOptions(max_objects=1))
    tracker.track(FRAMES[0], 0)
    tracker.add_prompt(CLICK)
    with pytest.raises(error, match=said):
        request_(tracker)


def test_a_session_ends_with_the_last_id_that_a_label_image_can_hold(network: Backend) -> None:
    tracker = StreamingTracker(network)
    tracker.track(FRAMES[0], 0)
    tracker.add_prompt(CLICK)
    saved = tracker.save(1)
    saved["objects"][0]["identity"]["id"] = MAX_ID
    tracker.restore(saved)
    tracker.track(FRAMES[1], 1)
    with pytest.raises(TooManyObjectsError, match=r"65535 objects .* allowed: reset"):
        tracker.add_prompt(BOX)
    assert [one.id for one in tracker.track(FRAMES[2], 2).objects] == [MAX_ID]
    tracker.reset()
    tracker.track(FRAMES[3], 3)
    assert tracker.add_prompt(BOX).id == 1


def test_memory_stays_constant_in_a_long_stream(network: Backend) -> None:
    tracker = StreamingTracker(network)
    sizes = []
    for index in range(200):
        tracker.track(FRAMES[index % 12], index)
        if index in (0, 5):
            tracker.add_prompt(CLICK)
        if index % 50 == 40:
            tracker.add_prompt(BOX, object_id=1)
        sizes.append(tracker.memory_bytes)
    # Sixteen frames back are read, from the oldest of eight held frames.
    assert set(sizes[30:]) == {sizes[30]}
    assert len(tracker.held_stamps) == 8


def test_prompted_frames_are_kept_up_to_the_limit(network: Backend) -> None:
    def bytes_with(limit: int, prompted: Sequence[int]) -> int:
        options = TrackerOptions(max_conditioning_frames=limit, held_frames=4)
        tracker = StreamingTracker(network, options)
        feed(tracker, FRAMES[:4])
        for stamp in prompted:
            tracker.add_prompt(CLICK, object_id=1 if tracker.objects else None, stamp=stamp)
        # Until no frame is left that was tracked before the prompts.
        feed(tracker, [FRAMES[4]] * 20, 4)
        return tracker.memory_bytes

    assert bytes_with(2, [3, 2, 1]) == bytes_with(16, [3, 2])


def test_the_image_size_may_change_in_the_stream(tracker: StreamingTracker) -> None:
    tracker.track(FRAMES[0], 0)
    tracker.add_prompt(BOX)
    tall = np.ascontiguousarray(FRAMES[1][:, 100:220])
    result = tracker.track(tall, 1)
    assert result.size == (240, 120)
    assert result.objects[0].mask.shape == (240, 120)
    with pytest.raises(PromptError, match="120"):
        tracker.add_prompt(PointPrompt([[160, 120]], [1]), object_id=1)
    # A held frame is prompted in its own pixels.
    assert tracker.add_prompt(PointPrompt([[160, 120]], [1]), object_id=1, stamp=0).mask.shape == (240, 320)


def test_clear_previous_decides_whether_earlier_points_count(network: Backend) -> None:
    def answer(*prompts: tuple[PointPrompt, bool]) -> float:
        tracker = StreamingTracker(network)
        tracker.track(FRAMES[0], 0)
        found = tracker.add_prompt(CLICK)
        for prompt, clear in prompts:
            found = tracker.add_prompt(prompt, object_id=1, clear_previous=clear)
        return found.score

    added, replaced = answer((OTHER_CLICK, False)), answer((OTHER_CLICK, True))
    assert added != pytest.approx(replaced, abs=0.01)
    # Points cleared on the way count no more.
    third = PointPrompt([[250, 200]], [1])
    kept, cleared = answer((OTHER_CLICK, False), (third, False)), answer((OTHER_CLICK, True), (third, False))
    assert kept != pytest.approx(cleared, abs=0.01)


def test_a_box_replaces_earlier_points_only_when_they_are_cleared(tracker: StreamingTracker) -> None:
    tracker.track(FRAMES[0], 0)
    tracker.add_prompt(CLICK)
    with pytest.raises(PromptError, match="clear_previous"):
        tracker.add_prompt(BOX, object_id=1, clear_previous=False)
    tracker.add_prompt(BOX, object_id=1)
    # More points may follow a box.
    tracker.add_prompt(CLICK, object_id=1, clear_previous=False)


def test_a_label_stays_until_a_new_one_comes(tracker: StreamingTracker) -> None:
    tracker.track(FRAMES[0], 0)
    tracker.add_prompt(CLICK, label="cup")
    assert tracker.add_prompt(CLICK, object_id=1).label == "cup"
    assert tracker.add_prompt(CLICK, object_id=1, label="mug").label == "mug"


@pytest.mark.parametrize("name", ["max_objects", "held_frames", "max_conditioning_frames"])
def test_options_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0"):
        TrackerOptions(**{name: 0})
