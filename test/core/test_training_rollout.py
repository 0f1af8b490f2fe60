"""Training sees what the tracker does: in evaluation mode a network gives the same answers on a clip."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sam2_core.model import Sam2Network, load_network
from sam2_core.simulated_user import correction_click, first_click
from sam2_core.tracking import (
    MaskPrompt,
    ObjectResult,
    PointPrompt,
    StreamingTracker,
    TrackerOptions,
    VideoSegmenter,
)
from sam2_core.training.batches import ClipBatch, collate
from sam2_core.training.clip import Clip
from sam2_core.training.config import BatchShape
from sam2_core.training.interaction import draw_interaction
from sam2_core.training.pool import FAMILIES
from sam2_core.training.rollout import Interaction, Rollout, encode_frames
from sam2_core.training.run import batch_losses

FRAMES, SIZE, CORRECTED = 7, 320, 2
LONG, LATER = 16, 5
"""Frames of a clip that all pointers reach over, and the second of its frames that are prompted."""


@pytest.fixture(scope="module")
def network() -> Sam2Network:
    loaded = load_network("sam2_pico")
    assert isinstance(loaded, Sam2Network)
    return loaded


def rendered(frames: int) -> Clip:
    scene = FAMILIES["plain"](3, frames=frames, size=(SIZE, SIZE), family="train")
    masks = np.stack([labels == 1 for labels in scene.labels])[:, None]
    assert masks[:FRAMES].any(axis=(1, 2, 3)).all()
    return Clip(np.stack(scene.frames), masks, np.ones((frames, 1), bool))


@pytest.fixture(scope="module")
def clip() -> Clip:
    return rendered(FRAMES)


@pytest.fixture(scope="module")
def batch(clip: Clip) -> ClipBatch:
    return collate([clip])


class ClipFrames:
    """The frames of a clip as those of a video."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip

    def __len__(self) -> int:
        return len(self._clip.frames)

    def image(self, index: int) -> NDArray[np.uint8]:
        return self._clip.frames[index]

    def stamp(self, index: int) -> int:
        return index


def trained(
    network: Sam2Network, batch: ClipBatch, interaction: Interaction
) -> dict[int, NDArray[np.float32]]:
    """By frame the logits [4s, 4s] of the last answer."""
    with torch.no_grad():
        answers = Rollout(network, batch, encode_frames(network, batch), interaction).run()
    return {answer.frame: answer.best()[0][0].numpy() for answer in answers}


def first_prompt(kind: str, mask: NDArray[np.bool_]) -> MaskPrompt | PointPrompt:
    return MaskPrompt(mask) if kind == "mask" else PointPrompt([first_click(mask, None)], [1])


def tracked(
    network: Sam2Network, clip: Clip, first: str, corrected: bool, lasting: bool
) -> dict[int, NDArray[np.float32]]:
    tracker = StreamingTracker(network, TrackerOptions(lasting_corrections=lasting))
    found: dict[int, NDArray[np.float32]] = {}
    for t, (frame, (mask,)) in enumerate(zip(clip.frames, clip.masks, strict=True)):
        results = tracker.track(frame, t).objects
        result: ObjectResult
        if t == 0:
            result = tracker.add_prompt(first_prompt(first, mask))
        else:
            (result,) = results
        if corrected and t == CORRECTED:
            x, y, label = correction_click(result.mask, mask)
            result = tracker.add_prompt(PointPrompt([(x, y)], [label]), object_id=result.id)
        found[t] = result.logits
    return found


@pytest.mark.parametrize("first", ["click", "mask"])
@pytest.mark.parametrize(("corrected", "lasting"), [(False, False), (True, False), (True, True)])
def test_a_clip_is_seen_as_the_tracker_sees_it(
    network: Sam2Network, clip: Clip, batch: ClipBatch, first: str, corrected: bool, lasting: bool
) -> None:
    interaction = Interaction(first, frozenset({CORRECTED} if corrected else ()), lasting=lasting)
    answers = trained(network, batch, interaction)
    assert sorted(answers) == [t for t in range(FRAMES) if t or first == "click"]
    check_same(answers, tracked(network, clip, first, corrected, lasting))


@pytest.mark.parametrize("first", ["click", "mask"])
def test_two_prompted_frames_are_seen_as_in_a_video(network: Sam2Network, first: str) -> None:
    clip = rendered(LONG)
    answers = trained(network, collate([clip]), Interaction(first, prompted=(0, LATER)))
    assert sorted(answers) == [t for t in range(LONG) if t not in (0, LATER) or first == "click"]

    segmenter = VideoSegmenter(network, ClipFrames(clip))
    for t in (0, LATER):
        segmenter.add_prompt(t, first_prompt(first, clip.masks[t, 0]), object_id=1)
    check_same(answers, {t: result.objects[0].logits for t, result in segmenter.propagate()})


def check_same(answers: dict[int, NDArray[np.float32]], found: dict[int, NDArray[np.float32]]) -> None:
    for t, logits in answers.items():
        if found[t].max() <= -1024:
            continue  # called hidden: training has the logits nevertheless
        # The tracker keeps memories in bfloat16.
        assert np.abs(logits - found[t]).mean() < 0.01 * np.abs(logits).mean(), t
        assert np.mean((logits > 0) != (found[t] > 0)) < 1e-3, t


@pytest.mark.parametrize("corrected", [(), (0,)])
def test_in_training_a_mask_learns_from_the_frames_that_read_it(
    network: Sam2Network, clip: Clip, corrected: tuple[int, ...]
) -> None:
    trained = copy.deepcopy(network).requires_grad_().train()
    batch = collate([Clip(clip.frames[:2], clip.masks[:2], clip.known[:2])])
    interaction = Interaction("click", frozenset(corrected))
    *before, later = Rollout(trained, batch, encode_frames(trained, batch), interaction).run()
    (gradient,) = torch.autograd.grad(later.logits.sum(), before[-1].logits)
    assert gradient.abs().sum() > 0


def test_the_losses_of_a_frames_answers_add_up_and_frames_are_averaged(
    network: Sam2Network, clip: Clip
) -> None:
    def loss(known: list[bool], corrections: int) -> float:
        batch = collate([Clip(clip.frames[:2], clip.masks[:2], np.array(known)[:, None])])
        interaction = Interaction("click", frozenset({0} if corrections else ()), corrections)
        with torch.no_grad():
            return batch_losses(network, batch, encode_frames(network, batch), interaction, 0.5).total.item()

    first, second = loss([True, False], 0), loss([False, True], 0)
    assert loss([True, True], 0) == pytest.approx((first + second) / 2, rel=1e-5)
    assert loss([True, False], 3) > loss([True, False], 2) > loss([True, False], 1) > first


def test_an_object_of_one_pixel_is_not_hidden(network: Sam2Network, clip: Clip) -> None:
    masks = np.stack([clip.masks[:2], clip.masks[:2]])
    masks[1, 1] = False
    masks[1, 1, :, 100, 100] = True
    occlusion = []
    for shown in masks:
        batch = collate([Clip(clip.frames[:2], shown, np.array([[False], [True]]))])
        with torch.no_grad():
            features = encode_frames(network, batch)
            occlusion.append(batch_losses(network, batch, features, Interaction("click"), 0.5).occlusion)
    assert occlusion[0] == occlusion[1]


def test_a_lasting_correction_is_read_for_longer(network: Sam2Network, batch: ClipBatch) -> None:
    brief, lasting = (
        trained(network, batch, Interaction("click", frozenset({CORRECTED}), lasting=lasting))
        for lasting in (False, True)
    )
    np.testing.assert_array_equal(brief[CORRECTED], lasting[CORRECTED])
    assert np.abs(brief[FRAMES - 1] - lasting[FRAMES - 1]).mean() > 0.1


@pytest.mark.parametrize(
    ("hidden", "unknown", "allowed"),
    [
        ((), (), {1, 2, 3, 4, 5, 6}),
        ((2, 3), (4, 5), {1, 6}),  # only frames that show enough of the object
        ((), (1, 2, 3, 4, 5), set()),  # the one frame that is left is there to be tracked
    ],
)
def test_up_to_so_many_frames_are_prompted(
    clip: Clip, hidden: tuple[int, ...], unknown: tuple[int, ...], allowed: set[int]
) -> None:
    masks, known = clip.masks.copy(), clip.known.copy()
    masks[[*hidden, *unknown]] = False
    masks[[*hidden[:1]], :, 100, 100:103] = True  # nobody would click that
    known[[*unknown]] = False
    batch = collate([Clip(clip.frames, masks, known)])
    drawn = [
        draw_interaction(BatchShape(prompted_frames=3), batch, 1e-3, np.random.default_rng(seed)).prompted
        for seed in range(100)
    ]
    assert all(prompted[0] == 0 and len({*prompted}) == len(prompted) for prompted in drawn)
    assert {len(prompted) for prompted in drawn} == set(range(1, min(3, 1 + len(allowed)) + 1))
    assert {frame for prompted in drawn for frame in prompted[1:]} == allowed


@pytest.mark.parametrize("first", ["click", "box", "mask"])
@pytest.mark.parametrize("most", [0, 1, 3])
def test_clicks_and_boxes_are_corrected_where_they_were_given(
    batch: ClipBatch, first: str, most: int
) -> None:
    shape = BatchShape(prompts={first: 1.0}, prompted_frames=2, corrected_frames=most)
    drawn = [draw_interaction(shape, batch, 1e-3, np.random.default_rng(seed)) for seed in range(100)]
    counts = {len(one.corrected) for one in drawn}
    frames = {frame for one in drawn for frame in one.corrected}
    if first == "mask":
        assert counts == set(range(most + 1))
    else:
        assert counts == ({most} if most < 2 else {1, 2, 3})
        assert all(one.corrected >= {*one.prompted[:most]} for one in drawn)
    assert frames == ({*range(FRAMES)} if most == 3 or (most and first == "mask") else {*range(most)})


def test_an_image_with_a_click_is_always_corrected(clip: Clip) -> None:
    image = collate([Clip(clip.frames[:1], clip.masks[:1], clip.known[:1])])
    shape = BatchShape(frames=1, prompts={"click": 1.0}, corrected_frames=1)
    for seed in range(20):
        assert draw_interaction(shape, image, 1e-3, np.random.default_rng(seed)).corrected == {0}
