"""The bundled model does what it is for."""

from __future__ import annotations

import numpy as np
import pytest

from sam2_core.evaluation.held_out import first_prompt
from sam2_core.evaluation.metrics import compare
from sam2_core.model import load_network
from sam2_core.scenes.procedural import sample_scene
from sam2_core.tracking import StreamingTracker

FRAMES, INTERVAL = 24, 33_333_333


@pytest.mark.parametrize("kind", ["click", "mask"])
def test_objects_are_followed_rather_than_left_where_they_were(kind: str) -> None:
    """On scenes of the held-out family, against an answer that stays as it was on the first frame."""
    network = load_network()
    followed, left = [], []
    for seed in range(3):
        scene = sample_scene(seed, FRAMES, (240, 320), "held_out")
        tracker = StreamingTracker(network)
        tracker.track(scene.frames[0], 0)
        labels = [label for label in range(1, 4) if np.count_nonzero(scene.labels[0] == label)]
        prompts = [first_prompt(kind, scene.labels[0] == label) for label in labels]
        first = [tracker.add_prompt(prompt).mask for prompt in prompts]
        for index in range(1, FRAMES):
            result = tracker.track(scene.frames[index], index * INTERVAL)
            for label, before, item in zip(labels, first, result.objects, strict=True):
                truth = scene.labels[index] == label
                followed.append(compare(item.mask, item.visible, truth).iou)
                left.append(compare(before, True, truth).iou)
    assert np.mean(followed) > 1.2 * np.mean(left)
