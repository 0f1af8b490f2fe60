"""Random changes of a clip that keep its ground truth true (paper, appendix D.2)."""

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
MOST_TURNED = 25.0  # degrees to either side, as in Meta's training
MOST_SHEARED = 20.0  # degrees to either side, likewise
OUTSIDE = (124, 116, 104)  # RGB that comes in from beyond the edges: the mean image, 0 when normalised


def choose_frames(
    length: int, annotated: Sequence[int], wanted: int, rng: np.random.Generator
) -> list[int] | None:
    """``wanted`` frame numbers of a video, evenly spaced, the first of them annotated.

    They are one to `MOST_APART` times as far apart as annotated frames are, at most `LONGEST_STRIDE`; run
    backwards half of the time; and give way by up to half a stride to an annotated frame. None where there
    are not enough frames, or not behind any annotated one.
    """
    if length < wanted:
        return None
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


def move(clip: Clip, size: int, mosaics: float, rng: np.random.Generator) -> Clip:
    """A clip as ``size`` pixels square, every frame of it seen through the same random geometry.

    One window of 60 to 100 % of the sides, mirrored half of the time; turned and sheared half of the time;
    and several frames with probability ``mosaics`` as a :func:`mosaic`.
    """
    tiled = len(clip.frames) > 1 and rng.random() < mosaics
    changed = crop_and_flip(clip, size // 2 if tiled else size, rng)
    if rng.random() < 0.5:
        changed = turn_and_shear(changed, rng)
    return mosaic(changed, rng) if tiled else changed


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


def turn_and_shear(clip: Clip, rng: np.random.Generator) -> Clip:
    """The whole clip turned about its middle and sheared along its rows, by a random angle each."""
    turned = np.deg2rad(rng.uniform(-MOST_TURNED, MOST_TURNED))
    sheared = np.deg2rad(rng.uniform(-MOST_SHEARED, MOST_SHEARED))
    cosine, sine = np.cos(turned), np.sin(turned)
    linear = np.array([[cosine, -sine], [sine, cosine]]) @ [[1, -np.tan(sheared)], [0, 1]]
    height, width = clip.frames.shape[1:3]
    middle = np.array([[(width - 1) / 2], [(height - 1) / 2]])
    affine = np.hstack([linear, middle - linear @ middle])
    frames = np.empty(clip.frames.shape, np.uint8)
    for t, frame in enumerate(clip.frames):
        frames[t] = cv2.warpAffine(
            np.ascontiguousarray(frame), affine, (width, height), flags=cv2.INTER_LINEAR, borderValue=OUTSIDE
        )
    masks = np.empty(clip.masks.shape, bool)
    for index in np.ndindex(*clip.masks.shape[:2]):
        mask = np.ascontiguousarray(clip.masks[index]).view(np.uint8)
        masks[index] = cv2.warpAffine(mask, affine, (width, height), flags=cv2.INTER_NEAREST)
    return Clip(frames, masks, clip.known)


def mosaic(clip: Clip, rng: np.random.Generator) -> Clip:
    """The clip four times, two by two; the objects are those of one of the four, chosen at random.

    So every object has three others that look and move alike, and only their places tell them apart.
    """
    height, width = clip.frames.shape[1:3]
    top, left = height * int(rng.integers(2)), width * int(rng.integers(2))
    masks = np.zeros((*clip.masks.shape[:2], 2 * height, 2 * width), bool)
    masks[..., top : top + height, left : left + width] = clip.masks
    return Clip(np.tile(clip.frames, (1, 2, 2, 1)), masks, clip.known)


def shift_colours(frames: Frames, rng: np.random.Generator) -> Frames:
    """Contrast, brightness, saturation and tint of the whole clip; sometimes grey, blurred or noisy.

    The brightness of each frame changes a little more.
    """
    saturation = 0.0 if rng.random() < 0.05 else rng.uniform(0.6, 1.4)
    to_grey = np.tile([0.299, 0.587, 0.114], (3, 1))
    contrast = rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, size=(3, 1))
    matrix = contrast * (saturation * np.eye(3) + (1 - saturation) * to_grey)
    offset = 128 * (1 - contrast) + rng.uniform(-25, 25)
    affine = np.hstack([matrix, offset])
    gains = rng.uniform(0.9, 1.1, size=len(frames))
    changed = np.stack(
        [cv2.transform(frame, gain * affine) for frame, gain in zip(frames, gains, strict=True)]
    ).astype(np.uint8)
    if rng.random() < 0.15:
        changed = np.stack([cv2.GaussianBlur(frame, (3, 3), 0) for frame in changed]).astype(np.uint8)
    if rng.random() < 0.15:
        noise = rng.integers(-12, 12, size=changed.shape, dtype=np.int16, endpoint=True)
        changed = (changed + noise).clip(0, 255).astype(np.uint8)
    return changed


def _resized(clip: Clip, window: tuple[slice, slice], size: int) -> Clip:
    # A pixel belongs to an object that covers more than half of it. The nearest pixel, taken instead, would
    # move masks against their frames, by half a pixel with INTER_NEAREST.
    frames = [cv2.resize(f[window], (size, size), interpolation=cv2.INTER_AREA) for f in clip.frames]
    masks = np.empty((*clip.masks.shape[:2], size, size), bool)
    for index in np.ndindex(*clip.masks.shape[:2]):
        mask = clip.masks[index][window].view(np.uint8)
        masks[index] = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA)
    return Clip(np.stack(frames).astype(np.uint8), masks, clip.known)
