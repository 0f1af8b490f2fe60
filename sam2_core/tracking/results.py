"""What tracking and segmentation answer with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..masks import Box, tight_box

PREVIOUS_LOGIT_LIMIT = 32.0
"""Logits that serve as the next prompt are clamped to this, as in the official predictor."""


def as_prompt(logits: Tensor) -> Tensor:
    """Mask logits of an answer, of any shape, as the next one reads them: float32, clamped, no gradient."""
    return logits.detach().float().clamp(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT)


def upscale_logits(logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Mask logits `[h, w]` stretched to `[H, W]` of `size`, bilinear."""
    stretched = cv2.resize(logits, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(stretched, np.float32)


def upscale_mask(logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Mask logits `[h, w]` to a mask bool `[H, W]` of `size`: bilinear, then above 0."""
    return upscale_logits(logits, size) > 0


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

    @cached_property
    def box(self) -> Box | None:
        """The smallest box around the mask; None where the mask is empty."""
        return tight_box(self.mask)


@dataclass(frozen=True, eq=False)
class PackedResult(ObjectResult):
    """One object on one frame, whose mask a GPU has computed already."""

    bits: NDArray[np.uint8]
    """The mask, eight pixels a byte, row by row."""
    corners: Box | None
    """The box."""

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """bool `[H, W]`, unpacked when first asked for."""
        height, width = self.size
        return np.unpackbits(self.bits, count=height * width).view(bool).reshape(self.size)

    @cached_property
    def box(self) -> Box | None:
        """The smallest box around the mask; None where the mask is empty."""
        return self.corners


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
    """The M masks of one prompt on one image, best first; M is 3 with multimask, else 1."""

    decoded: NDArray[np.float32]
    """float32 `[M, 4s, 4s]`: mask logits of the whole image at low resolution, as the network gave them."""
    iou: NDArray[np.float32]
    """float32 `[M]`, predicted."""
    score: float
    """Object score, a raw logit."""
    size: tuple[int, int]
    """(H, W) of the image."""
    threshold: float = 0.0
    """Logit above which a pixel is the object's."""

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        """bool `[M, H, W]`, computed when first asked for."""
        return self.full_logits > self.threshold

    @property
    def full_logits(self) -> NDArray[np.float32]:
        """float32 `[M, H, W]`: the logits stretched to the image, bilinear."""
        return np.stack([upscale_logits(one, self.size) for one in self.decoded])

    @property
    def logits(self) -> NDArray[np.float32]:
        """float32 `[M, 4s, 4s]`: the decoded logits within -32 to 32, to refine a mask with."""
        return self.decoded.clip(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT)
