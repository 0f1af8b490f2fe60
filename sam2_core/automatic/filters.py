"""Which of the masks found are worth keeping (SAM, appendix B)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_EDGE = 20
"""A box that comes this close to a crop's edge is taken to be cut off by it [px]."""


def stability(logits: Tensor, threshold: float, offset: float) -> Tensor:
    """IoU of the masks at `threshold` + and - `offset`: logits `[N, H, W]` to `[N]`; 0 for empty masks."""
    inner = (logits > threshold + offset).sum(dim=(1, 2))
    outer = (logits > threshold - offset).sum(dim=(1, 2))
    return inner / outer.clamp(min=1)


def boxes_of(masks: Tensor) -> Tensor:
    """The outermost pixels x0, y0, x1, y1 of masks bool `[N, H, W]`: int64 `[N, 4]`, zeros if empty."""
    sides = []
    for dim in (1, 2):
        taken = masks.any(dim=dim).to(torch.uint8)
        first = taken.argmax(dim=1)
        last = taken.shape[1] - 1 - taken.flip(1).argmax(dim=1)
        sides.append((first, last))
    (x0, x1), (y0, y1) = sides
    return torch.stack([x0, y0, x1, y1], dim=1) * masks.flatten(1).any(dim=1, keepdim=True)


def cut_off(boxes: Tensor, crop: tuple[int, int, int, int], size: tuple[int, int]) -> Tensor:
    """Whether boxes `[N, 4]` [px of the crop] end at an edge of the crop that is none of the image's.

    crop: x0, y0, x1, y1. size: (H, W) of the image. Returns bool `[N]`.
    """
    x0, y0, x1, y1 = crop
    corners = boxes + boxes.new_tensor([x0, y0, x0, y0])
    at_crop = (corners - corners.new_tensor([x0, y0, x1, y1])).abs() <= _EDGE
    at_image = (corners - corners.new_tensor([0, 0, size[1], size[0]])).abs() <= _EDGE
    return (at_crop & ~at_image).any(dim=1)


def suppress(boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float) -> list[int]:
    """Greedy non-maximum suppression: drops every box that overlaps a better one by more than an IoU.

    boxes: float32 `[N, 4]`, x0, y0, x1, y1. scores: float32 `[N]`. Returns the indices that stay, best first;
    of equal scores the first is the better one.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    waiting = np.argsort(-scores, kind="stable")
    kept = []
    while waiting.size:
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        corner = np.maximum(boxes[best, :2], boxes[waiting, :2])
        opposite = np.minimum(boxes[best, 2:], boxes[waiting, 2:])
        common = (opposite - corner).clip(min=0).prod(axis=1)
        union = areas[best] + areas[waiting] - common
        # Boxes without area overlap nothing.
        overlap = np.divide(common, union, out=np.zeros_like(union), where=union > 0)
        waiting = waiting[overlap <= threshold]
    return kept


def remove_small_regions(mask: NDArray[np.bool_], area: int) -> NDArray[np.bool_]:
    """Fills holes and then removes islands smaller than `area` [px]; the largest island always stays.

    mask: bool `[H, W]`. Diagonal neighbours belong together. Returns the mask itself where nothing changes.
    """
    regions, sizes = _regions(~mask)
    small = 1 + np.flatnonzero(sizes < area)
    if small.size:
        mask = mask | np.isin(regions, small)
    regions, sizes = _regions(mask)
    small = 1 + np.flatnonzero(sizes < area)
    if small.size:
        if small.size == sizes.size:
            small = np.delete(small, np.argmax(sizes))
        mask = mask & ~np.isin(regions, small)
    return mask


def _regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Connected regions: their labels `[H, W]`, from 1, and their sizes `[R]` [px]."""
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return labels.astype(np.int32), statistics[1:, cv2.CC_STAT_AREA].astype(np.int32)
