"""Prompts in the user's terms (pixels of the image), their validation, and their way to the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from ..model.prompt_encoder import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, OBJECT
from .errors import PromptError


@dataclass(frozen=True, eq=False)
class PointPrompt:
    """Points that are on the object (label 1) or not on it (label 0), a box around it, or both.

    Coordinates are (x, y) in pixels of the image, x to the right and y down; (0, 0) is the outer corner of
    the top-left pixel and (W, H) that of the bottom-right one.

    Raises:
        PromptError: points or labels are malformed, or there is neither point nor box.
    """

    points: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    """float32 `[P, 2]`."""
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64 `[P]`."""
    box: NDArray[np.float32] | None = None
    """float32 `[4]`: x0, y0, x1, y1 with x0 < x1 and y0 < y1."""

    def __init__(
        self,
        points: ArrayLike | Sequence[Sequence[float]] = (),
        labels: ArrayLike | Sequence[int] = (),
        box: ArrayLike | None = None,
    ) -> None:
        points_array = np.asarray(points, np.float32)
        if points_array.size == 0:
            points_array = points_array.reshape(0, 2)
        labels_array = np.asarray(labels)
        if points_array.ndim != 2 or points_array.shape[1] != 2:
            raise PromptError(f"points have shape {points_array.shape}; allowed: [P, 2]")
        if labels_array.shape != (len(points_array),):
            raise PromptError(
                f"{labels_array.size} labels for {len(points_array)} points; allowed: one label a point"
            )
        wrong = labels_array[(labels_array != BACKGROUND) & (labels_array != OBJECT)]
        if wrong.size:
            raise PromptError(
                f"label {wrong[0]}; allowed: {OBJECT} (on the object) or {BACKGROUND} (not on it)"
            )
        box_array = None if box is None else np.asarray(box, np.float32)
        if box_array is not None and box_array.shape != (4,):
            raise PromptError(f"box has shape {box_array.shape}; allowed: [4], x0, y0, x1, y1")
        if box_array is None and not len(points_array):
            raise PromptError("the prompt is empty; allowed: points, a box, points and a box, or a mask")
        object.__setattr__(self, "points", points_array)
        object.__setattr__(self, "labels", labels_array.astype(np.int64))
        object.__setattr__(self, "box", box_array)

    def check(self, size: tuple[int, int]) -> None:
        """Raises `PromptError` unless every coordinate is finite and inside an image of `size` (H, W)."""
        height, width = size
        for x, y in self.points:
            if not (np.isfinite([x, y]).all() and 0 <= x <= width and 0 <= y <= height):
                raise PromptError(f"point ({x:g}, {y:g}); allowed: 0 <= x <= {width}, 0 <= y <= {height}")
        if self.box is None:
            return
        x0, y0, x1, y1 = self.box
        if not (np.isfinite(self.box).all() and 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise PromptError(
                f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}); "
                f"allowed: 0 <= x0 < x1 <= {width}, 0 <= y0 < y1 <= {height}"
            )


@dataclass(frozen=True, eq=False)
class MaskPrompt:
    """A mask that is taken as the object's mask on that frame.

    Raises:
        PromptError: the mask is not two-dimensional, or has no pixel of the object.
    """

    mask: NDArray[np.bool_]
    """bool `[H, W]`, of the image's size."""

    def __post_init__(self) -> None:
        mask = np.asarray(self.mask, bool)
        if mask.ndim != 2:
            raise PromptError(f"mask has shape {mask.shape}; allowed: [H, W]")
        if not mask.any():
            raise PromptError("mask is empty; allowed: at least one pixel of the object")
        object.__setattr__(self, "mask", mask)

    def check(self, size: tuple[int, int]) -> None:
        """Raises `PromptError` unless the mask has the image's size (H, W)."""
        if self.mask.shape != size:
            raise PromptError(
                f"mask is {self.mask.shape[1]} x {self.mask.shape[0]}; "
                f"allowed: the frame's size, {size[1]} x {size[0]}"
            )


Prompt = PointPrompt | MaskPrompt


@dataclass(frozen=True)
class Clicks:
    """Points and box corners in the network's terms."""

    points: Tensor
    """float32 `[1, P, 2]` [px of the S x S input]."""
    labels: Tensor
    """int64 `[1, P]`, the prompt encoder's labels."""

    def __len__(self) -> int:
        return self.labels.shape[1]

    @property
    def has_box(self) -> bool:
        return bool((self.labels == BOX_TOP_LEFT).any())

    def followed_by(self, later: Clicks) -> Clicks:
        """These clicks, then the later ones."""
        return Clicks(
            torch.cat([self.points, later.points], dim=1), torch.cat([self.labels, later.labels], dim=1)
        )


def to_clicks(prompt: PointPrompt, size: tuple[int, int], image_size: int, device: torch.device) -> Clicks:
    """Scales a prompt on an image of `size` (H, W) to the S x S input; a box becomes the first two points."""
    points, labels = prompt.points, prompt.labels
    if prompt.box is not None:
        points = np.concatenate([prompt.box.reshape(2, 2), points])
        labels = np.concatenate([[BOX_TOP_LEFT, BOX_BOTTOM_RIGHT], labels])
    scaled = torch.from_numpy(points) / torch.tensor([size[1], size[0]]) * image_size
    return Clicks(scaled[None].to(device), torch.from_numpy(labels)[None].to(device))


def to_square_mask(prompt: MaskPrompt, image_size: int, device: torch.device) -> Tensor:
    """The mask at the network's input size: float32 `[1, 1, S, S]` of 0 and 1."""
    mask = torch.from_numpy(prompt.mask)[None, None].float()
    if mask.shape[-2:] != (image_size, image_size):
        mask = F.interpolate(mask, size=(image_size, image_size), mode="bilinear", antialias=True)
        mask = (mask >= 0.5).float()
    return mask.to(device)


def mask_logits(mask: Tensor) -> Tensor:
    """Masks `[N, 1, S, S]` of 0 and 1 as low-resolution logits `[N, 1, 4s, 4s]` between -10 and 10."""
    size = mask.shape[-1] // 4
    return F.interpolate(20 * mask - 10, size=(size, size), mode="bilinear", antialias=True)
