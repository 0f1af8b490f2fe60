"""Prompts, masks and stamps to messages and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from sam2_core.masks import tight_box
from sam2_core.tracking import MaskPrompt, PointPrompt
from sam2_ros.conversions import (
    mask_from_message,
    mask_message,
    mask_prompt_message,
    nanoseconds,
    point_prompt_message,
    prompt_from_message,
    time_message,
)
from sam2_ros.msg import RunLengthMask


@given(stamp=st.integers(0, 2**31 * 1_000_000_000 - 1))
def test_stamps_keep_every_nanosecond(stamp: int) -> None:
    message = time_message(stamp)
    assert 0 <= message.nanosec < 1_000_000_000
    assert nanoseconds(message) == stamp


def test_points_and_a_box() -> None:
    message = point_prompt_message([(1.5, 2.5), (3.0, 4.0)], [1, 0], (0.0, 0.0, 8.0, 9.0))
    prompt = prompt_from_message(message)
    assert isinstance(prompt, PointPrompt)
    assert prompt.points.tolist() == [[1.5, 2.5], [3.0, 4.0]]
    assert prompt.labels.tolist() == [1, 0]
    assert prompt.box is not None
    assert prompt.box.tolist() == [0.0, 0.0, 8.0, 9.0]


def test_points_alone_have_no_box() -> None:
    prompt = prompt_from_message(point_prompt_message([(1.5, 2.5)], [1]))
    assert isinstance(prompt, PointPrompt)
    assert prompt.box is None


masks = arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 30)))


@given(mask=masks.filter(np.any))
def test_masks_as_prompts(mask: NDArray[np.bool_]) -> None:
    prompt = prompt_from_message(mask_prompt_message(mask))
    assert isinstance(prompt, MaskPrompt)
    assert np.array_equal(prompt.mask, mask)


@given(mask=masks)
def test_masks_as_results(mask: NDArray[np.bool_]) -> None:
    message = mask_message(mask, tight_box(mask), id=3, label="cup", score=-1.0, predicted_iou=0.5)
    assert (message.id, message.label, message.visible) == (3, "cup", False)
    assert np.array_equal(mask_from_message(message.mask), mask)
    box = message.box
    covered = mask[box.y_offset : box.y_offset + box.height, box.x_offset : box.x_offset + box.width]
    assert covered.sum() == mask.sum()


def test_a_wrong_code_is_refused() -> None:
    with pytest.raises(ValueError, match="covers"):
        mask_from_message(RunLengthMask(height=2, width=2, counts="5"))
