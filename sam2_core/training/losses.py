"""Losses of promptable segmentation: focal 20, dice 1, IoU 1, occlusion 1 (SAM 2, appendix D.2.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FOCAL_WEIGHT, DICE_WEIGHT, IOU_WEIGHT, OCCLUSION_WEIGHT = 20.0, 1.0, 1.0, 1.0
EVEN = 0.5  # alpha that weighs object and background alike


@dataclass(frozen=True)
class Losses:
    """Losses of one answer or one batch, each a scalar tensor, not yet weighted."""

    focal: Tensor
    dice: Tensor
    iou: Tensor
    occlusion: Tensor

    @property
    def total(self) -> Tensor:
        """The weighted sum that is minimised."""
        return (
            FOCAL_WEIGHT * self.focal
            + DICE_WEIGHT * self.dice
            + IOU_WEIGHT * self.iou
            + OCCLUSION_WEIGHT * self.occlusion
        )


def focal_loss(logits: Tensor, truth: Tensor, alpha: float = EVEN, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al. 2017, eq. 5) of masks [..., h, w], averaged over the pixels -> [...].

    The released models were trained with alpha 0.25, which favours the background; from scratch that
    holds the masks empty for thousands of steps.
    """
    probability = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    wrong = probability + truth - 2 * probability * truth
    weight = (1 - alpha) + (2 * alpha - 1) * truth
    return (weight * wrong**gamma * entropy).mean(dim=(-2, -1))


def dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - Dice coefficient of masks [..., h, w], smoothed by one pixel -> [...]."""
    probability = logits.sigmoid()
    overlap = 2 * (probability * truth).sum(dim=(-2, -1))
    return 1 - (overlap + 1) / (probability.sum(dim=(-2, -1)) + truth.sum(dim=(-2, -1)) + 1)


def mask_iou(logits: Tensor, truth: Tensor) -> Tensor:
    """IoU of thresholded masks [..., h, w] with a binary truth of the same shape -> [...]."""
    predicted, present = logits > 0, truth > 0.5
    overlap = (predicted & present).sum(dim=(-2, -1)).float()
    return overlap / (predicted | present).sum(dim=(-2, -1)).clamp(min=1)


def prediction_losses(
    logits: Tensor,
    iou: Tensor,
    score: Tensor,
    truth: Tensor,
    visible: Tensor,
    known: Tensor,
    alpha: float = EVEN,
) -> Losses:
    """Losses of one decoder output for N objects, of which the truth is known of at least one.

    Of the M masks only the one with the smallest focal + dice loss receives a mask gradient, so that the
    others stay free to mean something else; every predicted IoU is supervised. Where the object is hidden
    only the occlusion score is, and where nothing is known, nothing.

    Args:
        logits: [N, M, h, w] mask logits.
        iou: [N, M] predicted IoU.
        score: [N] object score logit.
        truth: [N, H, W] float, 0 or 1; the logits are enlarged to its size.
        visible: bool [N], whether the object is: one of a few pixels may have none left in ``truth``, and
            then teaches the score but no mask.
        known: bool [N].
        alpha: of the focal loss.
    """
    logits = F.interpolate(logits.float(), size=truth.shape[-2:], mode="bilinear", align_corners=False)
    masks = truth[:, None].expand_as(logits)
    focal, dice = focal_loss(logits, masks, alpha), dice_loss(logits, masks)
    with torch.no_grad():
        best = (FOCAL_WEIGHT * focal + DICE_WEIGHT * dice).argmin(dim=1, keepdim=True)
        actual_iou = mask_iou(logits, masks)
    shown = truth.flatten(1).any(dim=1).float()
    count = known.sum()
    occlusion = F.binary_cross_entropy_with_logits(score.float(), visible.float(), reduction="none")
    return Losses(
        focal=(focal.gather(1, best)[:, 0] * shown).sum() / count,
        dice=(dice.gather(1, best)[:, 0] * shown).sum() / count,
        iou=((iou.float() - actual_iou).abs().mean(dim=1) * shown).sum() / count,
        occlusion=(occlusion * known).sum() / count,
    )
