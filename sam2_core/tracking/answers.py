"""From memories to what the user gets, with one transfer for all objects of a frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..transfer import download, upload
from .memory import FrameMemory, pooled
from .results import ObjectResult, PackedResult, TrackedObject


def object_results(
    identities: Sequence[TrackedObject], memories: Sequence[FrameMemory], size: tuple[int, int]
) -> tuple[ObjectResult, ...]:
    """What memories of one frame of `size` (H, W) say about their objects; copies, which stay as they are.

    A GPU makes the masks as well, since it is quicker than the host at it.
    """
    if not memories:
        return ()
    pool, rows = pooled(memories)
    index = upload(np.array(rows), pool.logits.device)
    found = [tensor.index_select(0, index) for tensor in (pool.logits[:, 0], pool.scores, pool.ious)]
    if not pool.logits.is_cpu:
        return packed_results(identities, size, *found)
    return tuple(
        ObjectResult(one.id, one.label, logits, size, float(score), float(iou))
        for one, logits, score, iou in zip(identities, *download(found), strict=True)
    )


def packed_results(
    identities: Sequence[TrackedObject], size: tuple[int, int], logits: Tensor, scores: Tensor, ious: Tensor
) -> tuple[ObjectResult, ...]:
    """Results of N objects, their masks made on the device: logits `[N, h, w]`, scores and IoUs `[N]`."""
    masks = masks_of(logits, size)
    found = download([logits, scores, ious, pack_bits(masks), boxes_of(masks)])
    return tuple(
        PackedResult(
            one.id,
            one.label,
            low,
            size,
            float(score),
            float(iou),
            bits,
            tuple(box.tolist()) if box.any() else None,
        )
        for one, low, score, iou, bits, box in zip(identities, *found, strict=True)
    )


def masks_of(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Mask logits `[N, h, w]` to masks, bool `[N, H, W]` of `size`: bilinear, then above 0.

    The same as `results.upscale_mask`, except at pixels whose logit is 0 but for rounding.
    """
    return F.interpolate(logits[:, None], size=size, mode="bilinear", align_corners=False)[:, 0] > 0


def pack_bits(masks: Tensor) -> Tensor:
    """Masks, bool `[N, H, W]`, as `numpy.packbits` packs each: uint8 `[N, ceil(H * W / 8)]`."""
    pixels = masks.flatten(1)
    pixels = F.pad(pixels, (0, -pixels.shape[1] % 8)).unflatten(1, (-1, 8))
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=masks.device)
    return (pixels.to(torch.uint8) << shifts).sum(dim=2, dtype=torch.uint8)


def boxes_of(masks: Tensor) -> Tensor:
    """The tight boxes of masks, bool `[N, H, W]`: int32 `[N, 4]`, (x0, y0, x1, y1), zeros where empty."""
    ends = []
    for lines in (masks.any(dim=1), masks.any(dim=2)):
        count = lines.shape[1]
        first = lines.to(torch.uint8).argmax(dim=1)
        last = count - lines.flip(1).to(torch.uint8).argmax(dim=1)
        ends += [first, torch.where(lines.any(dim=1), last, 0)]
    x0, x1, y0, y1 = ends
    return torch.stack([x0, y0, x1, y1], dim=1).to(torch.int32)
