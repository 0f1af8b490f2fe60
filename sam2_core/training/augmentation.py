"""Random changes of a clip that keep its ground truth true."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sam2_core.training.clip import Clip

Frames = NDArray[np.uint8]  # [T, S, S, 3] RGB

MOST_APART = 3  # times as far as annotated frames are
LONGEST_STRIDE = 6  # frames: at 24 a second objects rarely move out of reach in a quarter of one


def choose_frames(
    length: int, annotated: Sequence[int], wanted: int, rng: np.random.Generator
) -> list[int] | None:
    """``wanted`` frame numbers of a video, evenly spaced, the first of them annotated.

    They are one to `MOST_APART` times as far apart as annotated frames are, at most `LONGEST_STRIDE`; run
    backwards half of the time; and give way by up to half a stride to an annotated frame. None where there
    are not enough frames behind any annotated one.
    """
    apart = int(np.median(np.diff(annotated))) if len(annotated) > 1 else 1
    possible = sorted({min(times * apart, LONGEST_STRIDE) for times in range(1, MOST_APART + 1)})
    strides = [stride for stride in possible if (wanted - 1) * stride < length]
    stride = int(strides[rng.integers(len(strides))]) if strides else (length - 1) // (wanted - 1)
    step = stride if rng.random() < 0.5 else -stride
    span = (wanted - 1) * step
    starts = [frame for frame in annotated if 0 <= frame + span < length]
    if not starts:
        return None
    start = starts[rng.integers(len(starts))]
    return [_nearest(start + index * step, annotated, stride) for index in range(wanted)]


def _nearest(frame: int, annotated: Sequence[int], stride: int) -> int:
    """The annotated frame within half a stride of ``frame``, if there is one, else ``frame``."""
    after = bisect.bisect_left(annotated, frame)
    around = annotated[max(after - 1, 0) : after + 1]
    near = [one for one in around if -stride < 2 * (one - frame) <= stride]
    return min(near, key=lambda one: abs(one - frame), default=frame)


def whole(clip: Clip, size: int) -> Clip:
    """A clip as ``size`` pixels square, as the tracker sees it."""
    return _resized(clip, (slice(None), slice(None)), size)


def crop_and_flip(clip: Clip, size: int, rng: np.random.Generator) -> Clip:
    """One random window of 60 to 100 % of the sides for the whole clip, as ``size`` pixels square.

    Mirrored half of the time.
    """
    sides = clip.frames.shape[1:3]
    lengths = [int(side * rng.uniform(0.6, 1.0)) for side in sides] if rng.random() < 0.7 else sides
    starts = [int(rng.integers(0, side - length + 1)) for side, length in zip(sides, lengths, strict=True)]
    rows, columns = (slice(start, start + n) for start, n in zip(starts, lengths, strict=True))
    resized = _resized(clip, (rows, columns), size)
    if rng.random() < 0.5:
        return Clip(resized.frames[:, :, ::-1], resized.masks[..., ::-1], clip.known)
    return resized


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


def _resized(clip: Clip, window: tuple[slice, slice], size: int) -> Clip:
    frames = [cv2.resize(f[window], (size, size), interpolation=cv2.INTER_AREA) for f in clip.frames]
    masks = np.empty((*clip.masks.shape[:2], size, size), bool)
    for index in np.ndindex(*clip.masks.shape[:2]):
        mask = clip.masks[index][window].view(np.uint8)
        masks[index] = cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST)
    return Clip(np.stack(frames).astype(np.uint8), masks, clip.known)
