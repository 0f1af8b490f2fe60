"""Automatic masklets: what is found on one frame is tracked from there, and judged afterwards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sam2_core.automatic import (
    AutomaticMask,
    AutomaticMaskGenerator,
    AutomaticOptions,
    MaskletFilter,
    start_masklets,
)
from sam2_core.masks import run_lengths
from sam2_core.model import CONFIGS, Sam2Network
from sam2_core.tracking import (
    EncodedImage,
    FrameNotHeldError,
    FrameResult,
    ObjectResult,
    StreamingTracker,
    TrackerOptions,
)

SIZE = (96, 128)


@pytest.fixture(scope="module")
def network() -> Sam2Network:
    torch.manual_seed(5)
    return Sam2Network(CONFIGS["sam2_pico"]).eval().requires_grad_(False)


def found(*boxes: tuple[int, int, int, int]) -> list[AutomaticMask]:
    """Rectangles as records."""
    records = []
    for x0, y0, x1, y1 in boxes:
        mask = np.zeros(SIZE, bool)
        mask[y0:y1, x0:x1] = True
        records.append(
            AutomaticMask(run_lengths(mask), SIZE, (x0, y0, x1, y1), 0.9, 0.9, 1.0, (x0, y0), (0, 0, 128, 96))
        )
    return records


def test_masks_are_tracked_until_the_tracker_is_full(network: Sam2Network) -> None:
    tracker = StreamingTracker(network, TrackerOptions(max_objects=2))
    image = np.random.default_rng(1).integers(0, 255, (*SIZE, 3), np.uint8)
    tracker.track(image, 10)
    records = found((0, 0, 0, 0), (10, 10, 60, 50), (70, 20, 120, 90), (0, 60, 30, 90))
    started = list(start_masklets(tracker, records))
    assert [one.id for one in started] == [1, 2]
    for one, record in zip(started, records[1:], strict=False):
        assert (one.mask & record.mask).sum() > 0.95 * (one.mask | record.mask).sum()
    assert [one.id for one in tracker.track(image, 11).objects] == [1, 2]
    assert list(start_masklets(tracker, records)) == []
    with pytest.raises(FrameNotHeldError):
        next(start_masklets(StreamingTracker(network), records))


def test_masks_too_small_for_the_network_are_passed_over(network: Sam2Network) -> None:
    tracker = StreamingTracker(Sam2Network(replace(network.config, image_size=64)).eval())
    image = np.random.default_rng(1).integers(0, 255, (*SIZE, 3), np.uint8)
    tracker.track(image, 10)
    # A cell of the network's masks is 8 x 6 pixels.
    started = list(start_masklets(tracker, found((10, 10, 13, 12), (70, 20, 120, 90))))
    assert [one.id for one in started] == [1]
    assert started[0].mask[55, 95]


def test_a_held_frame_is_not_encoded_again(network: Sam2Network) -> None:
    tracker = StreamingTracker(network)
    image = np.random.default_rng(1).integers(0, 255, (*SIZE, 3), np.uint8)
    tracker.track(image, 10)
    frame = tracker.held_frame()
    generator = AutomaticMaskGenerator(
        network, AutomaticOptions(points_per_side=2, predicted_iou=0.0, stability=0.0)
    )
    kept = generator.generate(frame.image, EncodedImage(frame.features, frame.size))
    again = generator.generate(image)
    assert [one.record("coco_rle") for one in kept] == [one.record("coco_rle") for one in again]


def test_masklets_that_vanish_or_repeat_others_are_dropped() -> None:
    judge = MaskletFilter(least_visible=0.5, most_overlap=0.7)
    for stamp in range(4):
        square, shifted, far = rectangle(4, 20), rectangle(5, 20), rectangle(30, 44)
        objects = [
            one(1, square, True),
            one(2, shifted, True),  # nearly the same as 1
            one(3, far, stamp == 0),  # gone after the first frame
            one(4, far, True),
        ]
        judge.add(FrameResult(stamp, SIZE, tuple(objects)))
    assert judge.kept() == [1, 4]
    judge.add(FrameResult(9, SIZE, ()))
    assert judge.kept() == [1, 4]
    assert MaskletFilter().kept() == []


def rectangle(start: int, end: int) -> NDArray[np.float32]:
    logits = np.full((64, 64), -10.0, np.float32)
    logits[start:end, start:end] = 10.0
    return logits


def one(object_id: int, logits: NDArray[np.float32], visible: bool) -> ObjectResult:
    score = 5.0 if visible else -5.0
    return ObjectResult(object_id, "", logits if visible else np.full_like(logits, -1024), SIZE, score, 0.9)
