"""`ImageSegmenter` on many images and prompts: the same answers as one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from random_weights import random_network

from sam2_core.automatic import AutomaticMaskGenerator, AutomaticOptions
from sam2_core.model import Sam2Network
from sam2_core.tracking import (
    EncodedImage,
    ImageSegmenter,
    MaskPrompt,
    PointPrompt,
    Prompt,
    PromptError,
    SegmentationResult,
    TrackingError,
)

SIZES = [(120, 160), (200, 90), (64, 64)]


@pytest.fixture(scope="module")
def network() -> Sam2Network:
    return random_network("sam2_pico", 256)


@pytest.fixture(scope="module")
def segmenter(network: Sam2Network) -> ImageSegmenter:
    return ImageSegmenter(network)


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(7)
    return [random.integers(0, 255, (*size, 3), np.uint8) for size in SIZES]


@pytest.fixture(scope="module")
def encoded(segmenter: ImageSegmenter, images: list[NDArray[np.uint8]]) -> list[EncodedImage]:
    return segmenter.encode(images)


def prompts_on(size: tuple[int, int]) -> list[Prompt]:
    """Prompts of every kind, in mixed order."""
    height, width = size
    mask = np.zeros(size, bool)
    mask[height // 4 : height // 2, width // 4 : width // 2] = True
    box = (2.0, 3.0, width / 2, height - 4.0)
    return [
        PointPrompt([(10.0, 20.0)], [1]),
        PointPrompt(box=box),
        MaskPrompt(mask),
        PointPrompt([(30.0, 40.0)], [1]),
        PointPrompt([(5.0, 6.0)], [0], box=box),
        PointPrompt(box=(1.0, 1.0, width - 1.0, height / 2)),
    ]


def same(one: SegmentationResult, other: SegmentationResult) -> None:
    np.testing.assert_allclose(one.decoded, other.decoded, atol=1e-3)
    np.testing.assert_allclose(one.iou, other.iou, atol=1e-4)
    assert one.size == other.size
    assert one.score == pytest.approx(other.score, abs=1e-3)


@pytest.mark.parametrize("multimask", [False, True])
def test_a_batch_equals_one_by_one(
    network: Sam2Network,
    images: list[NDArray[np.uint8]],
    encoded: list[EncodedImage],
    segmenter: ImageSegmenter,
    multimask: bool,
) -> None:
    prompts = [prompts_on(size) for size in SIZES]
    prompts[1] = prompts[1][::-1][:4]
    together = segmenter.segment(encoded, prompts, multimask)
    single = ImageSegmenter(network)
    for image, some, answers in zip(images, prompts, together, strict=True):
        single.set_image(image)
        for prompt, answer in zip(some, answers, strict=True):
            same(answer, single.predict(prompt, multimask))
            assert answer.masks.shape == (3 if multimask else 1, *image.shape[:2])
            assert list(answer.iou) == sorted(answer.iou, reverse=True)


def test_many_clicks_on_one_image(segmenter: ImageSegmenter, encoded: list[EncodedImage]) -> None:
    segmenter.set_image(encoded[0])
    clicks = [PointPrompt([(float(x), 60.0)], [1]) for x in range(1, 141)]
    answers = segmenter.predict_batch(clicks)
    assert len(answers) == len(clicks)
    for i in (0, 63, 64, 139):
        same(answers[i], segmenter.predict(clicks[i]))
    assert np.abs(answers[0].decoded - answers[139].decoded).max() > 0.02


def test_refinement_goes_in_batches_too(segmenter: ImageSegmenter, encoded: list[EncodedImage]) -> None:
    segmenter.set_image(encoded[0])
    clicks = [PointPrompt([(20.0, 30.0)], [1]), PointPrompt([(90.0, 80.0)], [1])]
    first = segmenter.predict_batch(clicks)
    second = segmenter.predict_batch(clicks, previous_logits=[first[0].logits[0], None])
    same(second[0], segmenter.predict(clicks[0], previous_logits=first[0].logits[0]))
    same(second[1], first[1])
    assert np.abs(second[0].decoded - first[0].decoded).max() > 0.02


def test_a_second_look_asks_a_lone_click_again_with_its_answer(
    network: Sam2Network, images: list[NDArray[np.uint8]]
) -> None:
    hasty = Sam2Network(replace(network.config, second_look=False)).eval()
    hasty.load_state_dict(network.state_dict())
    once, twice = ImageSegmenter(hasty), ImageSegmenter(network)
    for segmenter in (once, twice):
        segmenter.set_image(images[0])
    clicks = [PointPrompt([(20.0, 30.0)], [1]), PointPrompt([(90.0, 80.0)], [1])]
    first = once.predict_batch(clicks)
    second = once.predict_batch(clicks, previous_logits=[answer.logits[0] for answer in first])
    for answer, before, after in zip(twice.predict_batch(clicks), first, second, strict=True):
        same(answer, after)
        assert np.abs(answer.decoded - before.decoded).max() > 0.02
    for prompt in prompts_on(SIZES[0])[1:3]:
        same(twice.predict(prompt), once.predict(prompt))
    same(twice.predict(clicks[0], multimask=True), once.predict(clicks[0], multimask=True))
    shown = first[0].logits[0]
    same(twice.predict(clicks[0], previous_logits=shown), once.predict(clicks[0], previous_logits=shown))


def test_automatic_single_masks_are_those_of_clicks_after_a_second_look(
    network: Sam2Network, images: list[NDArray[np.uint8]]
) -> None:
    options = AutomaticOptions(2, predicted_iou=0.0, stability=0.0, box_nms=1.0, multimask=False)
    found = AutomaticMaskGenerator(network, options).generate(images[0])
    segmenter = ImageSegmenter(network)
    segmenter.set_image(images[0])
    assert found
    for one in found:
        expected = segmenter.predict(PointPrompt([one.point], [1]))
        assert one.predicted_iou == pytest.approx(expected.iou[0], abs=1e-4)
        assert np.count_nonzero(one.mask != expected.masks[0]) <= 1


def test_threshold_and_logits_of_the_image(network: Sam2Network, images: list[NDArray[np.uint8]]) -> None:
    masks = []
    for threshold in (0.0, 1.0):
        segmenter = ImageSegmenter(network, threshold=threshold)
        segmenter.set_image(images[0])
        result = segmenter.predict(PointPrompt([(20.0, 30.0)], [1]), multimask=True)
        assert result.full_logits.shape == (3, *SIZES[0])
        assert np.array_equal(result.masks, result.full_logits > threshold)
        masks.append(result.masks)
    assert (masks[0] & ~masks[1]).any()
    assert not (masks[1] & ~masks[0]).any()


def test_logits_for_refinement_are_clamped(segmenter: ImageSegmenter) -> None:
    decoded = np.array([[[-100.0, 3.0], [5.0, 1000.0]]], np.float32)
    result = SegmentationResult(decoded, np.ones(1, np.float32), 1.0, (4, 4))
    assert result.logits.tolist() == [[[-32.0, 3.0], [5.0, 32.0]]]


def test_kept_features_serve_a_later_segmenter(
    network: Sam2Network, segmenter: ImageSegmenter, images: list[NDArray[np.uint8]]
) -> None:
    kept = segmenter.encode(images[1:2])[0].to("cpu")
    later = ImageSegmenter(network)
    later.set_image(kept)
    prompt = PointPrompt([(40.0, 100.0)], [1])
    segmenter.set_image(images[1])
    same(later.predict(prompt), segmenter.predict(prompt))


def test_mistakes_are_told(segmenter: ImageSegmenter, encoded: list[EncodedImage]) -> None:
    outside = PointPrompt([(130.0, 10.0)], [1])  # inside the first image, outside the second
    with pytest.raises(PromptError, match="x <= 90"):
        segmenter.segment(encoded[:2], [[outside], [outside]])
    with pytest.raises(TrackingError, match="2 images, prompts for 1"):
        segmenter.segment(encoded[:2], [[outside]])
    with pytest.raises(TrackingError, match=r"shape \(3, 3\)"):
        segmenter.segment(encoded[:1], [[outside]], previous_logits=[[np.zeros((3, 3), np.float32)]])
    with pytest.raises(ValueError, match="allowed: uint8"):
        segmenter.encode([np.zeros((4, 4), np.uint8)])
    assert segmenter.segment([], []) == []
    assert segmenter.encode([]) == []
