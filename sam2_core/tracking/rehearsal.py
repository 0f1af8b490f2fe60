"""The reference clip: what a backend must track as the float32 network does before it is trusted.

It lies in `reference_clip/`: eight frames of a procedural scene of our own, without photographs, as JPEGs of
quality 90. It is `sample_scene(6, frames=8, size=(240, 320))` as that was before commit 992f74d.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..backends import Backend
from ..backends.self_check import Rehearsal
from .options import TrackerOptions
from .prompts import MaskPrompt, PointPrompt, Prompt
from .results import ObjectResult
from .tracker import StreamingTracker

_CLIP = Path(__file__).parent / "reference_clip"
_FRAMES = 8
_SIZE = (240, 320)

DISTINCT_OBJECTS = 3
"""The star, the ring and the bar."""


def rehearse(backend: Backend, count: int = DISTINCT_OBJECTS) -> Rehearsal:
    """Tracks the clip: a click, a box and a mask that comes late, and a correction.

    Args:
        backend: executes the network.
        count: how many objects; beyond `DISTINCT_OBJECTS` the same ones are given again.
    """
    tracker = StreamingTracker(backend, TrackerOptions(max_objects=count, held_frames=1))
    masks = np.zeros((_FRAMES, count, *_SIZE), np.bool_)
    scores = np.zeros((_FRAMES, count), np.float32)
    ids: dict[int, int] = {}  # the tracker's, by place in the result
    for index, image in enumerate(_read_clip()):
        found = {result.id: result for result in tracker.track(image, index).objects}
        for place in range(count):
            prompt = _PROMPTS.get((index, place % DISTINCT_OBJECTS))
            if prompt is not None:
                answer: ObjectResult = tracker.add_prompt(prompt, ids.get(place))
                ids[place] = answer.id
                found[answer.id] = answer
        for place, identity in ids.items():
            masks[index, place] = found[identity].mask
            scores[index, place] = found[identity].score
    return Rehearsal(masks, scores)


def _bar() -> NDArray[np.bool_]:
    """Roughly the bar at the upper right, as someone would paint it."""
    outline = np.array([[224, 20], [256, 0], [320, 40], [320, 77], [262, 38], [232, 42]], np.int32)
    return cv2.fillPoly(np.zeros(_SIZE, np.uint8), [outline], 1).astype(np.bool_)


_PROMPTS: dict[tuple[int, int], Prompt] = {
    (0, 0): PointPrompt([[124, 85]], [1]),
    (0, 1): PointPrompt(box=[158, 137, 301, 240]),
    (2, 2): MaskPrompt(_bar()),
    (4, 1): PointPrompt([[270, 152]], [1]),
}
"""By frame and object."""


def _read_clip() -> list[NDArray[np.uint8]]:
    """uint8 `[240, 320, 3]` each, RGB."""
    return [np.array(Image.open(_CLIP / f"{index}.jpg"), np.uint8) for index in range(_FRAMES)]
