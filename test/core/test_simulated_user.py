"""Simulated prompts fall where a user's would."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import official
import pytest
import torch
from numpy.typing import NDArray

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


def blob(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.bool_]:
    """A smooth random region."""
    noise = cv2.GaussianBlur(rng.random(size, np.float32), (0, 0), rng.uniform(2, 6))
    return np.asarray(noise > np.quantile(noise, rng.uniform(0.5, 0.95)))


def wrong_masks(size: tuple[int, int], count: int) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Predicted and true masks: every other one unlike the truth, the rest the truth moved by a pixel or two.

    Of the latter, many miss as much as they have too much.
    """
    rng = np.random.default_rng(0)
    for index in range(count):
        truth = blob(rng, size)
        predicted = np.roll(truth, rng.integers(-2, 3, 2), (0, 1)) if index % 2 else blob(rng, size)
        if (predicted != truth).any():
            yield predicted, truth


def squared_depths(region: NDArray[np.bool_]) -> NDArray[np.int64]:
    """By pixel the squared distance to the nearest one outside the region or the image; 0 outside."""
    outside = np.argwhere(~np.pad(region, 1)) - 1
    depths = np.zeros(region.shape, np.int64)
    for y, x in np.argwhere(region):
        depths[y, x] = ((outside - (y, x)) ** 2).sum(axis=1).min()
    return depths


def test_the_click_is_where_the_error_is_deepest_and_of_two_alike_on_the_surplus() -> None:
    ties = 0
    for predicted, truth in wrong_masks((24, 32), 100):
        missing, extra = squared_depths(truth & ~predicted), squared_depths(predicted & ~truth)
        x, y, label = correction_click(predicted, truth)
        assert label == (missing.max() > extra.max())
        depths = missing if label else extra
        assert depths[int(y), int(x)] == depths.max()
        ties += missing.max() == extra.max()
    assert ties > 20, "else a rule for them is not tested"


def test_clicks_are_those_of_the_official_code() -> None:
    official.declare_torchvision_operators()
    from sam2.modeling.sam2_utils import sample_one_point_from_error_center

    for predicted, truth in wrong_masks((120, 200), 200):
        masks = [torch.from_numpy(mask)[None, None] for mask in (truth, predicted)]
        points, labels = sample_one_point_from_error_center(*masks)
        assert correction_click(predicted, truth) == (*points[0, 0].tolist(), labels[0, 0].item())


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
