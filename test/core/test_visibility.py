"""Verdicts on hidden objects, and the time until one that comes back is found."""

from __future__ import annotations

import pytest

from sam2_core.evaluation.object_scores import ObjectFrames
from sam2_core.evaluation.visibility import Return, judge, returns


def course(in_view: str, iou: list[float], shown: str = "", step: int = 1) -> ObjectFrames:
    """An object by frame: `#` where it is in view (or is called so), the IoU, and every how many-th frame."""
    at = [1 + step * index for index in range(len(in_view))]
    called = [sign == "#" for sign in shown or in_view]
    return ObjectFrames(list(map(str, at)), at, iou, iou, called, [sign == "#" for sign in in_view])


def test_an_object_that_stays_in_view_does_not_return() -> None:
    assert returns(course("####", [1, 0, 0, 1])) == []


def test_the_time_until_it_is_found_counts_from_the_first_frame_that_shows_it() -> None:
    assert returns(course("#..###", [1, 1, 1, 0.9, 0.9, 0.9])) == [Return(2, 0)]
    assert returns(course("#..###", [1, 1, 1, 0.1, 0.5, 0.6])) == [Return(2, 2)]


def test_an_object_that_hides_or_ends_before_it_is_found_is_never_found() -> None:
    assert returns(course("#.##.#", [1, 1, 0.2, 0.2, 1, 0.8])) == [Return(1, None), Return(1, 0)]
    assert returns(course("#.##", [1, 1, 0.2, 0.2])) == [Return(1, None)]


def test_it_was_in_view_before_the_first_scored_frame() -> None:
    assert returns(course("..#", [1, 1, 0.7])) == [Return(2, 0)]


def test_times_are_frames_of_the_video_where_few_are_annotated() -> None:
    assert returns(course("#.##", [1, 1, 0.2, 0.7], step=5)) == [Return(5, 5)]


def test_verdicts_are_pooled_over_objects() -> None:
    one = course("##..", [1, 1, 1, 0], shown="#..#")
    other = course("####", [1, 1, 1, 1])
    found = judge([one, other])
    assert found.accuracy == 6 / 8
    assert found.precision == 5 / 6
    assert found.recall == 5 / 6
    assert (found.hidden_frames, found.returns, found.found_again) == (2, 0, None)


def test_returns_are_pooled_over_objects() -> None:
    soon = course("#.##", [1, 1, 0.2, 0.8])
    at_once = course("#.##", [1, 1, 0.9, 0.8])
    never = course("#.##", [1, 1, 0.1, 0.1])
    found = judge([soon, at_once, never])
    assert found.found_again == pytest.approx(2 / 3)
    assert found.frames_until_found == pytest.approx(1 / 2)


def test_there_is_no_share_of_nothing() -> None:
    found = judge([course("..", [1, 1])])
    assert (found.accuracy, found.precision, found.recall, found.frames_until_found) == (1, None, None, None)
