"""What tracking and segmentation answer with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray


def upscale_mask(logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Mask logits `[h, w]` to a mask bool `[H, W]` of `size`: bilinear, then above 0."""
    mask: NDArray[np.bool_] = cv2.resize(logits, (size[1], size[0]), interpolation=cv2.INTER_LINEAR) > 0
    return mask


@dataclass(frozen=True)
class TrackedObject:
    """The identity of a tracked object."""

    id: int
    """Positive, never used twice in a session."""
    label: str
    since: int
    """Stamp of the frame of its first prompt [ns]."""


@dataclass(frozen=True, eq=False)
class ObjectResult:
    """One object on one frame."""

    id: int
    label: str
    logits: NDArray[np.float32]
    """float32 `[4s, 4s]`: mask logits of the whole image at low resolution; all -1024 where not visible."""
    size: tuple[int, int]
    """(H, W) of the image."""
    score: float
    """Object score, a raw logit."""
    iou: float
    """The network's own estimate of the mask's IoU, 0 to 1."""

    @property
    def visible(self) -> bool:
        """The occlusion head's verdict."""
        return self.score > 0

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """bool `[H, W]`, computed when first asked for."""
        return upscale_mask(self.logits, self.size)


@dataclass(frozen=True, eq=False)
class FrameResult:
    """All tracked objects on one frame."""

    stamp: int
    """Stamp of the image [ns]."""
    size: tuple[int, int]
    """(H, W) of the image."""
    objects: tuple[ObjectResult, ...]
    """In order of id."""


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """The masks of one prompt on one image, best first."""

    masks: NDArray[np.bool_]
    """bool `[M, H, W]`; M is 3 with multimask, else 1."""
    iou: NDArray[np.float32]
    """float32 `[M]`, predicted."""
    logits: NDArray[np.float32]
    """float32 `[M, 4s, 4s]`, for refinement."""
    score: float
    """Object score, a raw logit."""
