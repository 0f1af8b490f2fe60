"""Metrics on masks drawn by hand, and the held-out loop on a real tracker."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sam2_core.evaluation.held_out import (
    LONG,
    FollowedObject,
    first_prompt,
    summarise_group,
    to_markdown,
    track_scene,
)
from sam2_core.evaluation.metrics import Outcome, compare, mask_iou, summarise
from sam2_core.evaluation.object_scores import ObjectFrames
from sam2_core.model import CONFIGS, Sam2Network
from sam2_core.scenes import procedural
from sam2_core.tracking import MaskPrompt, PointPrompt


def rectangle(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((10, 12), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def test_iou_of_two_rectangles() -> None:
    assert mask_iou(rectangle(0, 0, 4, 4), rectangle(0, 2, 4, 6)) == pytest.approx(8 / 24)


def test_two_empty_masks_agree() -> None:
    empty = rectangle(0, 0, 0, 0)
    assert mask_iou(empty, empty) == 1.0
    assert mask_iou(empty, rectangle(0, 0, 1, 1)) == 0.0


def test_masks_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(10, 12\) and \(3, 3\)"):
        mask_iou(rectangle(0, 0, 1, 1), np.zeros((3, 3), dtype=bool))


def test_the_mask_of_an_object_called_hidden_counts_as_empty() -> None:
    mask = rectangle(1, 1, 5, 5)
    assert compare(mask, False, mask) == Outcome(0.0, False, True)
    assert compare(mask, False, rectangle(0, 0, 0, 0)) == Outcome(1.0, False, False)


def test_summary() -> None:
    outcomes = [
        Outcome(0.5, True, True),
        Outcome(0.0, False, True),
        Outcome(0.0, True, False),
        Outcome(1.0, False, False),
    ]
    summary = summarise(outcomes)
    assert summary.object_frames == 4
    assert summary.mean_iou == pytest.approx(1.5 / 4)
    assert summary.visibility_accuracy == pytest.approx(0.5)
    assert summary.visibility_precision == pytest.approx(0.5)
    assert summary.visibility_recall == pytest.approx(0.5)
    assert math.isnan(summarise(outcomes[3:]).visibility_precision)
    with pytest.raises(ValueError, match="no object-frames"):
        summarise([])


def test_the_click_of_a_crescent_is_on_it() -> None:
    y, x = np.mgrid[:60, :60]
    crescent = ((x - 30) ** 2 + (y - 30) ** 2 <= 400) & ((x - 40) ** 2 + (y - 30) ** 2 > 400)
    prompt = first_prompt("click", crescent)
    assert isinstance(prompt, PointPrompt)
    ((click_x, click_y),) = np.asarray(prompt.points, dtype=int)
    assert list(prompt.labels) == [1]
    assert crescent[click_y, click_x]
    assert isinstance(first_prompt("mask", crescent), MaskPrompt)


def test_every_object_is_scored_from_its_first_visible_frame_on() -> None:
    torch.manual_seed(0)
    network = Sam2Network(CONFIGS["sam2_pico"]).eval().requires_grad_(False)
    scene = procedural.sample_scene(3, frames=3, size=(60, 80), family="train")
    first_seen = [
        next(t for t in range(3) if np.count_nonzero(scene.labels[t] == label) >= 60 * 80 / 1000)
        for label in range(1, len(scene.names) + 1)
        if any(np.count_nonzero(labels == label) >= 60 * 80 / 1000 for labels in scene.labels)
    ]
    followed: dict[int, FollowedObject] = {}
    assert list(track_scene(network, scene, "mask", followed)) == [0, 1, 2]
    assert [len(one.outcomes) for one in followed.values()] == [3 - first for first in sorted(first_seen)]
    assert sorted(one.frames.at[0] for one in followed.values()) == sorted(first_seen)


def followed_object(*frames: tuple[bool, float]) -> FollowedObject:
    """An object by frame: whether it is in view, and the IoU that it is found with."""
    in_view, iou = [list(values) for values in zip(*frames, strict=True)]
    numbers = list(range(len(frames)))
    found = ObjectFrames(list(map(str, numbers)), numbers, iou, iou, in_view, in_view, [True] * len(frames))
    outcomes = [Outcome(value, seen, seen) for value, seen in zip(iou, in_view, strict=True)]
    return FollowedObject(outcomes, found)


def test_a_group_is_summed_up_by_object_and_by_object_frame() -> None:
    seen, hidden = (True, 1.0), (False, 1.0)
    lost = followed_object(seen, *[hidden] * LONG, *[(True, 0.0)] * 3)
    found = followed_object(seen, *[hidden] * LONG, (True, 0.4), (True, 0.6), seen)
    soon = followed_object(seen, *[hidden] * (LONG - 1), seen, seen)
    group = summarise_group([lost, found, soon])
    assert (group.long_returns, group.found_again) == (2, 1 / 2), "one came back too soon to count"
    scored = [LONG / (LONG + 2), (LONG + 1) / (LONG + 2), 1]
    assert group.jf == pytest.approx(np.mean(scored)), "without the first and the last frame of each"
    assert group.frames.mean_iou == pytest.approx((24 - 3 + 24 - 1 + 22) / (24 + 24 + 22))
    short = summarise_group([followed_object(seen, seen)])
    assert (short.jf, short.long_returns, short.found_again) == (None, 0, None)


def test_the_table_has_a_row_per_prompt_and_group() -> None:
    half = followed_object((True, 0.5), (True, 0.5), (True, 0.5))
    table = to_markdown({"click": {"tabletop": summarise_group([half])}})
    assert "| click | tabletop | 3 | 0.500 | 0.500 | 100.0% | 100.0% | 100.0% | 0 |  |" in table
    assert len(table.splitlines()) == 3
