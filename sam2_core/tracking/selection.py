"""Which of the decoder's four masks is the answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..model import DecodedMasks, Sam2Config
from ..model.network import NO_OBJECT_LOGIT
from .options import MaskOptions


@dataclass(frozen=True)
class ChosenMasks:
    """One mask for each of N objects."""

    logits: Tensor
    """`[N, 1, 4s, 4s]`."""
    iou: Tensor
    """`[N]`, predicted."""
    pointers: Tensor
    """`[N, C]`."""


def stability(logits: Tensor, delta: float) -> Tensor:
    """IoU of the masks at thresholds `delta` and `-delta`: logits `[N, h, w]` to `[N]` (SAM, appendix B)."""
    inner = (logits > delta).sum(dim=(1, 2))
    outer = (logits > -delta).sum(dim=(1, 2))
    return torch.where(outer > 0, inner / outer.clamp(min=1), torch.ones_like(outer, dtype=torch.float32))


def choose_masks(
    decoded: DecodedMasks, ambiguous: bool, config: Sam2Config, options: MaskOptions
) -> ChosenMasks:
    """Picks each object's mask.

    Where the prompt is ambiguous (one click, or none) it is the candidate of the highest predicted IoU; else
    it is the single mask, unless that is unstable: then the best candidate steps in, while the pointer stays
    the single mask's. Models without `multimask` always answer with the single mask.
    """
    rows = torch.arange(len(decoded.iou), device=decoded.iou.device)
    best = 1 + decoded.iou[:, 1:].argmax(dim=1)
    single = torch.zeros_like(best)
    if not config.multimask:
        token = chosen = single
    elif ambiguous:
        token = chosen = best
    else:
        stable = stability(decoded.logits[:, 0], options.stability_delta) >= options.stability_threshold
        token, chosen = single, torch.where(stable, single, best)
    return ChosenMasks(
        decoded.logits[rows, chosen, None], decoded.iou[rows, chosen], decoded.pointers[rows, token]
    )


def hide_absent(logits: Tensor, score: Tensor) -> Tensor:
    """Empties the masks `[N, M, h, w]` of objects whose score `[N]` says that they are not visible."""
    return torch.where(score[:, None, None, None] > 0, logits.float(), NO_OBJECT_LOGIT)
