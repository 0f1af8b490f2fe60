"""A clip with the masks of some of its objects, and how it is read from a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_core.evaluation.mask_folders import DatasetFileError
from sam2_core.training.datasets.video import Video

_CANDIDATES = 4  # objects that are read for each one that is wanted: a window may leave some out


@dataclass(frozen=True)
class Clip:
    """T frames of H x W pixels with K objects."""

    frames: NDArray[np.uint8]  # [T, H, W, 3] RGB
    masks: NDArray[np.bool_]  # [T, K, H, W]; empty where not known
    known: NDArray[np.bool_]  # [T, K], whether there is ground truth: sparse datasets have it on few frames


def read_clip(video: Video, frames: Sequence[int], most: int, rng: np.random.Generator) -> Clip | None:
    """Some of the objects that are seen on the first of these frames; None where there is none.

    Args:
        video: what to read from.
        frames: the numbers of its frames, the first one annotated.
        most: at most so many objects will be wanted.
        rng: chooses among more than that.

    Raises:
        DatasetFileError, VideoError: a file cannot be read, or the frames differ in size.
    """
    seen = video.seen(frames[0])
    if not seen:
        return None
    names = [seen[index] for index in rng.permutation(len(seen))[: _CANDIDATES * most]]
    images = [video.image(frame) for frame in frames]
    height, width = images[0].shape[:2]
    masks = np.zeros((len(frames), len(names), height, width), bool)
    known = np.zeros(masks.shape[:2], bool)
    for t, frame in enumerate(frames):
        if images[t].shape != images[0].shape:
            raise DatasetFileError(Path(video.name), f"frame {frame} differs in size from frame {frames[0]}")
        for name, mask in video.masks(frame, names).items():
            if mask.shape != (height, width):
                found = f"{mask.shape[1]} x {mask.shape[0]}, the frame {width} x {height}"
                raise DatasetFileError(
                    Path(video.name), f"the mask of object {name} on frame {frame} is {found}"
                )
            index = names.index(name)
            masks[t, index], known[t, index] = mask, True
    return Clip(np.stack(images), masks, known)


def select_objects(clip: Clip, most: int, smallest: float, rng: np.random.Generator) -> Clip | None:
    """At most ``most`` objects that can be prompted on the first frame and followed; None without any.

    Objects that are hidden later come first: there are few of them, and they teach what occlusion is.

    Args:
        clip: K objects.
        most: number of objects.
        smallest: share of the image that an object must show on the first frame, else nobody would click it.
        rng: chooses among more than ``most``.
    """
    can_be_prompted = clip.known[0] & (clip.masks[0].mean(axis=(1, 2)) >= smallest)
    if len(clip.frames) > 1:
        can_be_prompted &= clip.known[1:].any(axis=0)
    order = rng.permutation(np.flatnonzero(can_be_prompted))
    if not len(order):
        return None
    hidden = np.any(clip.known & ~clip.masks.any(axis=(2, 3)), axis=0)
    chosen = order[np.argsort(~hidden[order], kind="stable")[:most]]
    return Clip(clip.frames, clip.masks[:, chosen], clip.known[:, chosen])
