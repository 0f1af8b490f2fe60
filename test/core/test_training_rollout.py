"""Training sees what the tracker does: the same answers to the same prompts on the same clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sam2_core.model import Sam2Network, load_network
from sam2_core.simulated_user import correction_click, first_click
from sam2_core.tracking import MaskPrompt, ObjectResult, PointPrompt, StreamingTracker, TrackerOptions
from sam2_core.training.batches import ClipBatch, collate
from sam2_core.training.clip import Clip
from sam2_core.training.pool import FAMILIES
from sam2_core.training.rollout import Interaction, Rollout, encode_frames

FRAMES, SIZE, CORRECTED = 7, 320, 2


@pytest.fixture(scope="module")
def network() -> Sam2Network:
    loaded = load_network("sam2_pico")
    assert isinstance(loaded, Sam2Network)
    return loaded


@pytest.fixture(scope="module")
def clip() -> Clip:
    scene = FAMILIES["plain"](3, frames=FRAMES, size=(SIZE, SIZE), family="train")
    masks = np.stack([labels == 1 for labels in scene.labels])[:, None]
    assert masks.any(axis=(1, 2, 3)).all()
    return Clip(np.stack(scene.frames), masks, np.ones((FRAMES, 1), bool))


@pytest.fixture(scope="module")
def batch(clip: Clip) -> ClipBatch:
    return collate([clip])


def trained(
    network: Sam2Network, batch: ClipBatch, interaction: Interaction
) -> dict[int, NDArray[np.float32]]:
    """By frame the logits [4s, 4s] of the last answer."""
    with torch.no_grad():
        answers = Rollout(network, batch, encode_frames(network, batch), interaction).run()
    return {answer.frame: answer.best()[0][0].numpy() for answer in answers}


def tracked(
    network: Sam2Network, clip: Clip, first: str, corrected: bool, lasting: bool
) -> dict[int, NDArray[np.float32]]:
    tracker = StreamingTracker(network, TrackerOptions(lasting_corrections=lasting))
    found: dict[int, NDArray[np.float32]] = {}
    for t, (frame, (mask,)) in enumerate(zip(clip.frames, clip.masks, strict=True)):
        results = tracker.track(frame, t).objects
        result: ObjectResult
        if t == 0:
            prompt = MaskPrompt(mask) if first == "mask" else PointPrompt([first_click(mask, None)], [1])
            result = tracker.add_prompt(prompt)
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
    found = tracked(network, clip, first, corrected, lasting)
    assert sorted(answers) == [t for t in range(FRAMES) if t or first == "click"]
    for t, logits in answers.items():
        if found[t].max() <= -1024:
            continue  # called hidden: training has the logits nevertheless
        # The tracker keeps memories in bfloat16.
        assert np.abs(logits - found[t]).mean() < 0.01 * np.abs(logits).mean(), t
        assert np.mean((logits > 0) != (found[t] > 0)) < 1e-3, t


def test_a_lasting_correction_is_read_for_longer(network: Sam2Network, batch: ClipBatch) -> None:
    brief, lasting = (
        trained(network, batch, Interaction("click", frozenset({CORRECTED}), lasting=lasting))
        for lasting in (False, True)
    )
    np.testing.assert_array_equal(brief[CORRECTED], lasting[CORRECTED])
    assert np.abs(brief[FRAMES - 1] - lasting[FRAMES - 1]).mean() > 0.1
