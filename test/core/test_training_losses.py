"""The losses against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from sam2_core.training.losses import dice_loss, focal_loss, mask_iou, prediction_losses

TRUE = torch.ones(1, dtype=torch.bool)


def test_focal_loss_of_one_pixel() -> None:
    logit, probability = math.log(3.0), 0.75
    logits = torch.full((1, 1), logit)
    on_object = focal_loss(logits, torch.ones(1, 1))
    on_background = focal_loss(logits, torch.zeros(1, 1))
    assert on_object.item() == pytest.approx(0.5 * 0.25**2 * -math.log(probability), rel=1e-5)
    assert on_background.item() == pytest.approx(0.5 * 0.75**2 * -math.log(1 - probability), rel=1e-5)


def test_dice_loss_counts_soft_overlap() -> None:
    logits = torch.zeros(2, 2)  # probability 1/2 everywhere
    truth = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    # overlap 2 * (1/2 + 1/2) = 2, areas 2 + 2, each side plus the smoothing 1
    assert dice_loss(logits, truth).item() == pytest.approx(1 - 3 / 5)


def test_mask_iou_thresholds_at_zero() -> None:
    logits = torch.tensor([[2.0, 1.0], [-1.0, -3.0]])
    truth = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert mask_iou(logits, truth).item() == pytest.approx(1 / 3)


def test_only_the_best_of_the_masks_gets_a_mask_gradient() -> None:
    truth = torch.zeros(1, 8, 8)
    truth[:, 2:6, 2:6] = 1
    good = (truth * 2 - 1) * 2
    logits = torch.stack([-good, good, torch.zeros_like(good)], dim=1).requires_grad_()
    losses = prediction_losses(logits, torch.full((1, 3), 0.5), torch.zeros(1), truth, TRUE, TRUE)
    losses.total.backward()
    assert logits.grad is not None
    assert logits.grad[0, 1].abs().sum() > 0
    assert logits.grad[0, 0].abs().sum() == 0
    assert logits.grad[0, 2].abs().sum() == 0


def test_every_predicted_iou_is_supervised() -> None:
    truth = torch.zeros(1, 4, 4)
    truth[:, :2] = 1
    right, wrong = truth * 8 - 4, 4 - truth * 8
    iou = torch.tensor([[0.25, 0.5]])
    losses = prediction_losses(torch.stack([right, wrong], dim=1), iou, torch.zeros(1), truth, TRUE, TRUE)
    assert losses.iou.item() == pytest.approx((abs(0.25 - 1) + abs(0.5 - 0)) / 2)


def test_a_hidden_object_is_supervised_by_its_occlusion_score_alone() -> None:
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    iou = torch.rand(2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    score = torch.tensor([math.log(3.0), -math.log(3.0)], requires_grad=True)
    truth = torch.zeros(2, 4, 4)
    truth[1] = 1
    losses = prediction_losses(
        logits, iou, score, truth, torch.tensor([False, True]), torch.tensor([True, True])
    )
    losses.total.backward()
    assert losses.occlusion.item() == pytest.approx(-math.log(0.25), rel=1e-5)
    assert logits.grad is not None
    assert iou.grad is not None
    assert logits.grad[0].abs().sum() == 0
    assert iou.grad[0].abs().sum() == 0
    assert logits.grad[1].abs().sum() > 0


def test_an_object_too_small_for_its_mask_is_not_taught_as_hidden() -> None:
    logits = torch.zeros(1, 3, 4, 4, requires_grad=True)
    score = torch.tensor([math.log(3.0)])
    losses = prediction_losses(logits, torch.rand(1, 3), score, torch.zeros(1, 4, 4), TRUE, TRUE)
    assert losses.occlusion.item() == pytest.approx(-math.log(0.75), rel=1e-5)
    losses.total.backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


def test_where_the_truth_is_not_known_nothing_is_supervised() -> None:
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    iou = torch.rand(2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    score = torch.zeros(2, requires_grad=True)
    truth = torch.zeros(2, 4, 4)
    truth[1] = 1
    known = torch.tensor([False, True])
    both = prediction_losses(logits, iou, score, truth, known, known)
    both.total.backward()
    for given in (logits, iou, score):
        assert given.grad is not None
        assert given.grad[0].abs().sum() == 0
        assert given.grad[1].abs().sum() > 0
    alone = prediction_losses(logits[1:], iou[1:], score[1:], truth[1:], TRUE, TRUE)
    assert both.total.item() == pytest.approx(alone.total.item(), rel=1e-6)


def test_a_lower_alpha_favours_the_background() -> None:
    logits, on_object, on_background = torch.zeros(1, 1), torch.ones(1, 1), torch.zeros(1, 1)
    ratio = focal_loss(logits, on_background, alpha=0.25) / focal_loss(logits, on_object, alpha=0.25)
    assert ratio.item() == pytest.approx(3.0)
