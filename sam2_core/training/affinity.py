"""An auxiliary task for the image encoder: pixels of one object look alike, others do not.

The decoder's losses say little about a feature until the decoder has learned to read it. Here every pixel
of an object in turn predicts the whole object, by the angle between feature vectors, which teaches the
encoder from the first step on. The head is thrown away after training.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2_core.model import ImageFeatures, Sam2Config
from sam2_core.training.losses import DICE_WEIGHT, FOCAL_WEIGHT, dice_loss, focal_loss

CHANNELS = 32
ANCHORS = 4  # pixels of each object that predict it
MAGNITUDE_WEIGHT = 0.1  # of the features' mean square, which would drown the prompts' positions if it grew
START = (8.0, -6.0)  # mask logit = first * cosine + second, both learned


class AffinityHead(nn.Module):
    """Adds up the three feature maps as one vector of ``CHANNELS`` numbers per pixel at stride 4."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.projections = nn.ModuleList(nn.Conv2d(c, CHANNELS, 1) for c in (dim, dim // 4, dim // 8))
        self.scale, self.bias = (nn.Parameter(torch.tensor(value)) for value in START)

    def forward(self, features: ImageFeatures) -> Tensor:
        """``[B, CHANNELS, 4s, 4s]``."""
        maps = (features.embedding, features.skip8, features.skip4)
        sizes = [features.skip4.shape[-2:]] * 3
        projected = [p(m.float()) for p, m in zip(self.projections, maps, strict=True)]
        return sum(
            (F.interpolate(m, size=s, mode="bilinear") for m, s in zip(projected, sizes, strict=True)),
            start=torch.zeros(()),
        )

    def loss(
        self, features: ImageFeatures, owners: Tensor, masks: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Focal and dice loss of masks that random pixels of N objects predict, and a bound on the features.

        Args:
            features: of B images.
            owners: int64 [N], the image of each object.
            masks: bool [N, S, S].
            generator: chooses the pixels.
        """
        pixels = F.normalize(self(features).flatten(2), dim=1)[owners]
        side = features.skip4.shape[-1]
        truth = (F.adaptive_avg_pool2d(masks[:, None].float(), side) > 0.5).float()
        anywhere = truth.flatten(1) + 1e-6  # an object too small for this resolution: any pixel will do
        # On the processor, where the generator is: the same pixels on every device.
        drawn = torch.multinomial(anywhere.cpu(), ANCHORS, replacement=True, generator=generator)
        chosen = drawn.to(anywhere.device)
        anchors = pixels.gather(2, chosen[:, None].expand(-1, CHANNELS, -1))
        cosine = (anchors.transpose(1, 2) @ pixels).unflatten(2, (side, side))
        logits = self.scale * cosine + self.bias
        target = truth.expand_as(logits)
        alike = (FOCAL_WEIGHT * focal_loss(logits, target) + DICE_WEIGHT * dice_loss(logits, target)).mean()
        maps = (features.embedding, features.skip8, features.skip4)
        return alike + MAGNITUDE_WEIGHT * sum(
            (m.float().square().mean() for m in maps), start=torch.zeros(())
        )
