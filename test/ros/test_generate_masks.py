"""The service that finds everything, over the real middleware."""

from __future__ import annotations

import numpy as np
import pytest
from harness import SIZE, Robot

from sam2_ros.client import RequestRefusedError
from sam2_ros.conversions import mask_from_message
from sam2_ros.images import rgb_from_image

# Random weights are sure of nothing: everything that is not empty passes.
UNSURE = {"points_per_side": 3, "predicted_iou": -1.0, "stability": -1.0, "min_area": 1}
LONG = UNSURE | {"points_per_side": 20}
"""In fifty steps."""


def test_everything_on_the_newest_frame(robot: Robot) -> None:
    stamp = robot.film().header.stamp
    answer = robot.call(robot.client.generate_masks(**UNSURE))
    assert answer.header.stamp == stamp
    assert [item.id for item in answer.masks] == list(range(1, len(answer.masks) + 1))
    assert len(answer.masks) >= 1
    for item in answer.masks:
        assert mask_from_message(item.mask).shape == SIZE
    qualities = [item.predicted_iou for item in answer.masks]
    assert qualities == sorted(qualities, reverse=True)
    assert robot.film().objects == []  # nothing is tracked by it


def test_where_nothing_passes_it_is_told_why(robot: Robot) -> None:
    robot.film()
    answer = robot.call(robot.client.generate_masks(points_per_side=3, predicted_iou=1.0))
    assert answer.success
    assert not answer.masks
    assert "none of 27 candidates passed" in answer.message
    assert "predicted_iou is 1" in answer.message


def test_the_same_on_an_image(robot: Robot) -> None:
    picture = robot.picture()
    robot.film(picture)
    newest = robot.call(robot.client.generate_masks(**UNSURE)).masks
    for image in (picture, rgb_from_image(picture)):
        assert robot.call(robot.client.generate_masks(image, **UNSURE)).masks == newest
    least = min(int(mask_from_message(item.mask).sum()) for item in newest) + 1
    fewer = robot.call(robot.client.generate_masks(picture, **UNSURE | {"min_area": least})).masks
    assert len(fewer) < len(newest)


def test_what_is_found_is_tracked(robot: Robot) -> None:
    found = robot.call(robot.client.generate_masks(**UNSURE)).masks
    started = robot.call(robot.client.generate_masks(track=True, **UNSURE)).masks
    expected = min(3, len(found))  # the tracker has room for three
    assert [item.id for item in started] == list(range(1, expected + 1))
    for before, after in zip(found, started, strict=False):
        one, other = mask_from_message(before.mask), mask_from_message(after.mask)
        assert (one & other).sum() >= 0.5 * (one | other).sum()
    assert [item.id for item in robot.film().objects] == [item.id for item in started]
    assert np.all([item.visible for item in started])


def test_bad_requests_are_refused(robot: Robot) -> None:
    with pytest.raises(RequestRefusedError, match="predicted_iou is 1"):
        robot.call(robot.client.generate_masks(predicted_iou=1.5))
    with pytest.raises(RequestRefusedError, match="track on the newest frame"):
        robot.call(robot.client.generate_masks(robot.picture(), track=True))
    assert robot.film().objects == []


def test_frames_are_tracked_while_a_search_goes_on(robot: Robot) -> None:
    robot.film()
    answer = robot.client.generate_masks(track=True, **LONG)
    stamps = []
    while not answer.done():
        stamps.append(robot.film().header.stamp)
    found = robot.call(answer)
    # It was the newest when the search began; far more frames came than are held.
    assert found.header.stamp not in stamps[2:]
    assert len(stamps) > 10
    assert [item.id for item in robot.film().objects] == [item.id for item in found.masks] != []


def test_a_search_is_given_up_where_everything_is_forgotten(robot: Robot) -> None:
    robot.film()
    answer = robot.client.generate_masks(track=True, **LONG)
    robot.film()
    robot.call(robot.client.reset())
    robot.film()
    with pytest.raises(RequestRefusedError, match="no frame with stamp"):
        robot.call(answer)
    assert robot.film().objects == []
