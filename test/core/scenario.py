"""Three objects on twelve real frames: what fidelity to the official predictor is measured on.

One object starts with a click; one with a box, and is corrected with a click on frame 5; one is given as a
mask on frame 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_core.backends import Backend
from sam2_core.model import ImageFeatures
from sam2_core.tracking import MaskPrompt, PointPrompt, Prompt, StreamingTracker, TrackerOptions

HEIGHT, WIDTH = 240, 320


def clip(frames: int = 12) -> list[NDArray[np.uint8]]:
    """uint8 `[240, 320, 3]` each: a camera pans and zooms over a photograph, something passes before it."""
    photograph = skimage.data.coffee()
    occluder = np.repeat(skimage.data.brick()[:180, :90, None], 3, axis=2)
    images = []
    for t in range(frames):
        height, width = round(300 * (1 - 0.03 * t)), round(400 * (1 - 0.03 * t))
        top, left = 10 + 5 * t, 20 + 14 * t
        image = cv2.resize(
            photograph[top : top + height, left : left + width],
            (WIDTH, HEIGHT),
            interpolation=cv2.INTER_AREA,
        )
        x = 36 * t - 90
        shown = slice(max(x, 0), min(x + 90, WIDTH))
        image[30:210, shown] = occluder[:, shown.start - x : shown.stop - x]
        images.append(image.astype(np.uint8))
    return images


@dataclass(frozen=True)
class Given:
    """A prompt, its frame and its object."""

    frame: int
    object_id: int
    prompt: Prompt
    clear_previous: bool = True


def _disc() -> NDArray[np.bool_]:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    mask: NDArray[np.bool_] = (x - 200) ** 2 + (y - 130) ** 2 < 60**2
    return mask


PROMPTS = (
    Given(0, 1, PointPrompt([[160, 120]], [1])),
    Given(0, 2, PointPrompt(box=[40, 50, 150, 200])),
    Given(3, 3, MaskPrompt(_disc())),
    Given(5, 2, PointPrompt([[90, 120]], [1])),
)
"""What is promised."""

REFINEMENTS = (
    Given(0, 1, PointPrompt([[160, 120]], [1])),
    Given(0, 1, PointPrompt([[60, 60]], [0]), clear_previous=False),
    Given(0, 2, PointPrompt([[270, 60]], [1])),
    Given(0, 2, PointPrompt([[100, 120], [130, 60]], [1, 0], box=[40, 50, 150, 200])),
    Given(2, 1, MaskPrompt(_disc())),
    Given(3, 2, PointPrompt([[90, 120]], [1])),
    Given(3, 2, PointPrompt([[120, 150], [30, 30]], [1, 0]), clear_previous=False),
    Given(4, 2, PointPrompt(box=[50, 60, 160, 210])),
)
"""Several prompts on one frame, one after the other, and a tracked object given anew by mask and box."""


@dataclass(frozen=True)
class Step:
    """One object on one frame."""

    logits: Tensor
    """float32 `[4s, 4s]`."""
    score: float
    pointer: Tensor
    """float32 `[C]`."""
    memory: Tensor
    """bfloat16 `[Cm, s, s]`."""


Track = Mapping[tuple[int, int], Step]
"""By frame and object id."""


class Delegate:
    """A backend that leaves everything to another one; subclasses do a part themselves."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)


class EncodedOnce(Delegate):
    """Keeps the features of every image it has seen, for several runs over the same frames."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._features: dict[bytes, ImageFeatures] = {}

    def encode_image(self, pixels: Tensor) -> ImageFeatures:
        key = pixels.numpy().tobytes()
        if key not in self._features:
            self._features[key] = self.backend.encode_image(pixels)
        return self._features[key]


def track(
    backend: Backend,
    frames: Sequence[NDArray[np.uint8]],
    prompts: Sequence[Given] = PROMPTS,
    options: TrackerOptions = TrackerOptions(),
) -> Track:
    """Runs our tracker."""
    tracker = StreamingTracker(backend, options)
    steps = {}
    for index, image in enumerate(frames):
        tracker.track(image, index)
        for given in prompts:
            if given.frame == index:
                known = given.object_id in {tracked.id for tracked in tracker.objects}
                tracker.add_prompt(
                    given.prompt,
                    given.object_id if known else None,
                    clear_previous=given.clear_previous,
                )
        for object_id, tracked in tracker._objects.items():
            memory = tracked.bank.find(index)
            assert memory is not None
            steps[index, object_id] = Step(
                memory.logits[0], float(memory.found.scores[memory.row]), memory.pointer, memory.map
            )
    return steps


@dataclass(frozen=True)
class Errors:
    """The largest differences between two tracks."""

    logits: float
    """Of low-resolution mask logits, whose scale is 5."""
    score: float
    pointer: float
    memory: float
    """In steps of bfloat16."""


TOLERANCES = Errors(logits=0.01, score=0.01, pointer=5e-4, memory=1.0)


def compare(track: Track, other: Track) -> Errors:
    """The differences of two tracks of the same objects on the same frames."""
    assert track.keys() == other.keys()
    pairs = [(track[key], other[key]) for key in track]
    return Errors(
        max(float((a.logits - b.logits).abs().max()) for a, b in pairs),
        max(abs(a.score - b.score) for a, b in pairs),
        max(float((a.pointer - b.pointer).abs().max()) for a, b in pairs),
        max(_steps(a.memory, b.memory) for a, b in pairs),
    )


def _steps(memory: Tensor, other: Tensor) -> float:
    """The largest difference of two bfloat16 tensors of deviation 1, in steps of bfloat16.

    A step is the distance of neighbouring values at that magnitude; below 1/16 it is that of 1/16, since what
    is rounded has errors that do not shrink with it.
    """
    first, second = memory.float(), other.float()
    magnitude = torch.maximum(first.abs(), second.abs()).clamp(min=1 / 16)
    step = 2.0 ** (magnitude.log2().floor() - 7)
    return float(((first - second).abs() / step).max())


def agree(errors: Errors) -> bool:
    """Whether differences are within the tolerances."""
    return (
        errors.logits <= TOLERANCES.logits
        and errors.score <= TOLERANCES.score
        and errors.pointer <= TOLERANCES.pointer
        and errors.memory <= TOLERANCES.memory
    )
