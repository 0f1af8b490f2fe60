"""Prompts: what is refused, and that each refusal names the thing, the value and what is allowed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sam2_core.tracking import MaskPrompt, PointPrompt, PromptError
from sam2_core.tracking.prompts import mask_logits, to_clicks, to_square_mask

SIZE = (240, 320)
"""(H, W) of the image."""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "the prompt is empty; allowed: points, a box"),
        ({"points": []}, "the prompt is empty"),
        ({"points": [[1, 2]]}, "0 labels for 1 points; allowed: one label a point"),
        ({"points": [[1, 2]], "labels": [1, 0]}, "2 labels for 1 points"),
        ({"labels": [1]}, "1 labels for 0 points"),
        ({"points": [[1, 2]], "labels": [[1]]}, "one label a point"),
        ({"points": [1, 2], "labels": [1]}, r"points have shape \(2,\); allowed: \[P, 2\]"),
        ({"points": [[1, 2, 3]], "labels": [1]}, r"points have shape \(1, 3\)"),
        ({"points": [[1, 2]], "labels": [2]}, r"label 2; allowed: 1 \(on the object\) or 0"),
        ({"points": [[1, 2]], "labels": [-1]}, "label -1"),
        ({"points": [[1, 2]], "labels": [0.5]}, "label 0.5"),
        ({"box": [1, 2, 3]}, r"box has shape \(3,\); allowed: \[4\], x0, y0, x1, y1"),
        ({"box": [[1, 2], [3, 4]]}, r"box has shape \(2, 2\)"),
    ],
)
def test_malformed_points_and_boxes_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(PromptError, match=said):
        PointPrompt(**arguments)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.ones(4, bool), r"mask has shape \(4,\); allowed: \[H, W\]"),
        (np.ones((4, 4, 1), bool), r"mask has shape \(4, 4, 1\)"),
        (np.zeros((4, 4), bool), "mask is empty; allowed: at least one pixel"),
        (np.zeros((0, 4), bool), "mask is empty"),
    ],
)
def test_malformed_masks_are_refused(mask: Any, said: str) -> None:
    with pytest.raises(PromptError, match=said):
        MaskPrompt(mask)


@pytest.mark.parametrize("point", [(-0.5, 9), (9, -1), (320.5, 9), (9, 241), (np.nan, 9), (9, np.inf)])
def test_points_outside_the_image_are_refused(point: tuple[float, float]) -> None:
    prompt = PointPrompt([(5, 5), point], [1, 0])
    with pytest.raises(PromptError, match=r"point \(.*allowed: 0 <= x <= 320, 0 <= y <= 240"):
        prompt.check(SIZE)


@pytest.mark.parametrize(
    "box",
    [
        (10, 10, 10, 20),
        (10, 20, 30, 20),
        (30, 10, 10, 20),
        (-1, 0, 20, 20),
        (0, 0, 321, 20),
        (0, 0, 20, 241),
        (0, 0, np.nan, 20),
    ],
    ids=["no width", "no height", "corners swapped", "left", "right", "below", "not a number"],
)
def test_boxes_without_area_or_outside_are_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(PromptError, match=r"box \(.*allowed: 0 <= x0 < x1 <= 320, 0 <= y0 < y1 <= 240"):
        PointPrompt(box=box).check(SIZE)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(PromptError, match="mask is 240 x 320; allowed: the frame's size, 320 x 240"):
        MaskPrompt(np.ones((320, 240), bool)).check(SIZE)


def test_the_image_border_is_inside() -> None:
    PointPrompt([(0, 0), (320, 240)], [1, 0], box=(0, 0, 320, 240)).check(SIZE)


def test_coordinates_become_those_of_the_square_input() -> None:
    clicks = to_clicks(PointPrompt([(160, 60)], [0], box=(0, 24, 320, 240)), SIZE, 1024, torch.device("cpu"))
    torch.testing.assert_close(clicks.points, torch.tensor([[[0, 102.4], [1024, 1024], [512, 256]]]))
    assert clicks.labels.tolist() == [[2, 3, 0]]


def test_a_mask_becomes_square_without_moving() -> None:
    mask = np.zeros(SIZE, bool)
    mask[60:120, 80:240] = True
    square = to_square_mask(MaskPrompt(mask), 256, torch.device("cpu"))
    expected = torch.zeros(1, 1, 256, 256)
    expected[:, :, 64:128, 64:192] = 1
    torch.testing.assert_close(square, expected)
    logits = mask_logits(square)
    assert logits.shape == (1, 1, 64, 64)
    assert (float(logits.min()), float(logits.max())) == pytest.approx((-10, 10), abs=1e-4)
    torch.testing.assert_close((logits > 0).float(), expected[:, :, ::4, ::4])
