"""Random changes of a clip that keep its ground truth true."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]  # [T, S, S, 3] RGB
Labels = NDArray[np.uint8]  # [T, S, S]


def choose_frames(available: int, wanted: int, rng: np.random.Generator) -> list[int]:
    """``wanted`` frame numbers of a clip of ``available``, one or two apart, backwards half of the time."""
    fastest = 1 if wanted == 1 else min(2, (available - 1) // (wanted - 1))
    stride = int(rng.integers(1, fastest, endpoint=True))
    span = (wanted - 1) * stride + 1
    start = int(rng.integers(0, available - span, endpoint=True))
    chosen = list(range(start, start + span, stride))
    return chosen[::-1] if rng.random() < 0.5 else chosen


def crop_and_flip(
    frames: Frames, labels: Labels, size: int, rng: np.random.Generator
) -> tuple[Frames, Labels]:
    """One random window of 60 to 100 % of the sides for the whole clip, as ``size`` pixels square.

    Mirrored half of the time.
    """
    side = frames.shape[1]
    height, width = (
        (int(side * rng.uniform(0.6, 1.0)) for _ in range(2)) if rng.random() < 0.7 else (side, side)
    )
    top, left = int(rng.integers(0, side - height + 1)), int(rng.integers(0, side - width + 1))
    window = (slice(None), slice(top, top + height), slice(left, left + width))
    images = np.stack([cv2.resize(f, (size, size), interpolation=cv2.INTER_AREA) for f in frames[window]])
    masks = np.stack([cv2.resize(m, (size, size), interpolation=cv2.INTER_NEAREST) for m in labels[window]])
    if rng.random() < 0.5:
        images, masks = images[:, :, ::-1], masks[:, :, ::-1]
    return np.ascontiguousarray(images), np.ascontiguousarray(masks)


def shift_colours(frames: Frames, rng: np.random.Generator) -> Frames:
    """Contrast, brightness, saturation and tint of the whole clip; sometimes grey, blurred or noisy."""
    saturation = 0.0 if rng.random() < 0.05 else rng.uniform(0.6, 1.4)
    to_grey = np.tile([0.299, 0.587, 0.114], (3, 1))
    contrast = rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, size=(3, 1))
    matrix = contrast * (saturation * np.eye(3) + (1 - saturation) * to_grey)
    offset = 128 * (1 - contrast) + rng.uniform(-25, 25)
    affine = np.hstack([matrix, offset])
    changed = np.stack([cv2.transform(frame, affine) for frame in frames]).astype(np.uint8)
    if rng.random() < 0.15:
        changed = np.stack([cv2.GaussianBlur(frame, (3, 3), 0) for frame in changed]).astype(np.uint8)
    if rng.random() < 0.15:
        noise = rng.integers(-12, 12, size=changed.shape, dtype=np.int16, endpoint=True)
        changed = (changed + noise).clip(0, 255).astype(np.uint8)
    return changed
