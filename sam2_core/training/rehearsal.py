"""Teaches a new decoder what a click is before it sees the first object.

The mask of a click is a product of what the prompt says and what the pixels say. At the start both are
noise, so training first learns to ignore the click, and then needs thousands of steps to notice it again.
A few dozen steps on discs drawn around random clicks, over the features of an untrained encoder, are enough
to avoid that; from there on discs only have to grow into objects.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from tqdm import tqdm

from sam2_core.model import ImageFeatures, Sam2Network
from sam2_core.training.losses import prediction_losses

STEPS = 240
DISCS = 32  # of one step
LEARNING_RATE = 2e-3
RADII = (0.03, 0.25)  # of a disc, as a share of the image's side


def draw_discs(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Clicks [DISCS, 1, 2] in pixels of an image of ``size``, and discs [DISCS, size / 4, size / 4] there."""
    clicks = size * torch.rand(DISCS, 1, 2, generator=generator)
    smallest, largest = RADII
    share = torch.rand(DISCS, 1, 1, generator=generator).square()
    radius = size * (smallest + (largest - smallest) * share)
    centres = 4 * torch.arange(size // 4) + 2.0
    away_x = centres[None, None, :] - clicks[:, :, :1]
    away_y = centres[None, :, None] - clicks[:, :, 1:]
    return clicks, (away_x.square() + away_y.square() < radius.square()).float()


def rehearse(network: Sam2Network, features: ImageFeatures, seed: int) -> None:
    """Train everything but the image encoder, in place, to answer clicks with discs.

    Args:
        network: as :func:`sam2_core.training.initialisation.initialise` leaves it.
        features: of any B images.
        seed: of the clicks.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = [p for name, p in network.named_parameters() if not name.startswith("image_encoder")]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0)
    embedding, skip4, skip8 = (
        m.detach().float() for m in (features.embedding, features.skip4, features.skip8)
    )
    device = network.device
    labels = torch.ones(DISCS, 1, dtype=torch.long, device=device)
    every = torch.ones(DISCS, dtype=torch.bool, device=device)
    progress = tqdm(range(STEPS), desc="rehearsal", unit="step")
    for step in progress:
        clicks, discs = (drawn.to(device) for drawn in draw_discs(network.config.image_size, generator))
        images = torch.randint(len(embedding), (DISCS,), generator=generator).to(device)
        decoded = network.decode_masks(
            network.without_memory(embedding[images]),
            skip4[images],
            skip8[images],
            network.encode_prompts(clicks, labels),
        )
        logits, iou = decoded.logits[:, 1:], decoded.iou[:, 1:]
        losses = prediction_losses(logits, iou, decoded.score, discs, visible=every, known=every)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 20)
        optimizer.zero_grad()
        losses.total.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 20 == 19:
            progress.set_postfix(dice=f"{losses.dice.item():.3f}")
