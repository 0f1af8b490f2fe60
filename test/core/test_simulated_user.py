"""Simulated prompts fall where a user's would."""

from __future__ import annotations

import numpy as np
import pytest

from sam2_core.simulated_user import correction_click, deepest_point, first_click, loose_box


@pytest.fixture
def truth() -> np.ndarray:
    """A disc of radius 20 in an image of 64 x 80."""
    y, x = np.mgrid[:64, :80]
    return (x - 40) ** 2 + (y - 30) ** 2 <= 20**2


def test_the_first_click_is_on_the_object(truth: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    clicks = [first_click(truth, rng) for _ in range(50)]
    assert all(truth[int(y), int(x)] for x, y in clicks)
    assert len(set(clicks)) > 25
    assert first_click(truth, None) == (40.0, 30.0)


def test_the_deepest_point_of_a_ring_is_on_the_ring(truth: np.ndarray) -> None:
    y, x = np.mgrid[:64, :80]
    ring = truth & ((x - 40) ** 2 + (y - 30) ** 2 >= 12**2)
    found_x, found_y, distance = deepest_point(ring)
    assert ring[found_y, found_x]
    assert 3 <= distance <= 6


def test_a_missing_part_gets_a_positive_click_inside_it(truth: np.ndarray) -> None:
    predicted = truth.copy()
    predicted[:, 45:] = False
    x, y, label = correction_click(predicted, truth)
    assert label == 1
    assert (truth & ~predicted)[int(y), int(x)]


def test_a_surplus_part_gets_a_negative_click_inside_it(truth: np.ndarray) -> None:
    predicted = truth.copy()
    predicted[40:, 60:] = True
    predicted[25:28, 38:41] = False  # a smaller error of the other kind
    x, y, label = correction_click(predicted, truth)
    assert label == 0
    assert (predicted & ~truth)[int(y), int(x)]


def test_a_right_mask_is_confirmed(truth: np.ndarray) -> None:
    x, y, label = correction_click(truth, truth)
    assert label == 1
    assert truth[int(y), int(x)]
    nothing = np.zeros_like(truth)
    assert correction_click(nothing, nothing)[2] == 0


def test_the_box_surrounds_the_object_loosely(truth: np.ndarray) -> None:
    assert loose_box(truth, None) == (20.0, 10.0, 61.0, 51.0)
    rng = np.random.default_rng(0)
    boxes = np.array([loose_box(truth, rng) for _ in range(100)])
    assert boxes.std(axis=0).min() > 1
    assert np.abs(boxes - [20, 10, 61, 51]).max() <= 10


def test_one_correction_in_ten_does_not_look_at_the_error(truth: np.ndarray) -> None:
    predicted = truth.copy()
    predicted[:, 45:] = False
    rng = np.random.default_rng(0)
    clicks = [correction_click(predicted, truth, rng) for _ in range(300)]
    at_the_error = sum(click == correction_click(predicted, truth) for click in clicks)
    assert all(truth[int(y), int(x)] and label == 1 for x, y, label in clicks)
    assert 0.03 < 1 - at_the_error / len(clicks) < 0.2
