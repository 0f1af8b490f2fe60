"""The prompt encoder of SAM (arXiv 2304.02643): points, box corners and masks become tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .config import Sam2Config
from .layers import LayerNorm2d
from .positions import RandomFourier

PADDING, BACKGROUND, OBJECT, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT = -1, 0, 1, 2, 3
"""Point labels, as in the released models."""


@dataclass(frozen=True)
class PromptTokens:
    """Encoded prompts of N objects."""

    sparse: Tensor
    """`[N, P + 1, C]`: one token per point, and a padding token that ends the list."""
    dense: Tensor
    """`[N or 1, C, s or 1, s or 1]`: the mask prompt, or the "no mask" vector; added to the embedding."""


class PromptEncoder(nn.Module):
    """Encodes prompts given in pixels of the square S x S network input."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.image_size = config.image_size
        self.embedding_size = config.embedding_size
        self.pe_layer = RandomFourier(dim)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, kernel_size=2, stride=2),
            LayerNorm2d(4),
            nn.GELU(),
            nn.Conv2d(4, 16, kernel_size=2, stride=2),
            LayerNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, dim, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, dim)

    def dense_positions(self) -> Tensor:
        """Position encoding of the embedding's tokens: `[s * s, C]`."""
        return self.pe_layer.grid(self.embedding_size)

    def encode_points(self, points: Tensor, labels: Tensor) -> Tensor:
        """Points `[N, P, 2]` (x, y) [px] with labels `[N, P]` to `[N, P, C]`."""
        # SAM encodes the centre of the pixel that a coordinate names.
        positions = self.pe_layer((points + 0.5) / self.image_size)
        # One row per label from PADDING up; padding points lose their position.
        rows = torch.cat([embedding.weight for embedding in (self.not_a_point_embed, *self.point_embeddings)])
        return positions * (labels != PADDING).unsqueeze(-1) + rows[labels + 1]

    def forward(self, points: Tensor, labels: Tensor, mask_logits: Tensor | None) -> PromptTokens:
        """Points `[N, P, 2]` [px], labels `[N, P]` int64, mask logits `[N, 1, 4s, 4s]` or None."""
        end = labels.new_full((len(labels), 1), PADDING)
        sparse = self.encode_points(
            torch.cat([points, points.new_zeros(len(points), 1, 2)], dim=1), torch.cat([labels, end], dim=1)
        )
        if mask_logits is None:
            dense = self.no_mask_embed.weight[:, :, None, None]
        else:
            dense = self.mask_downscaling(mask_logits)
        return PromptTokens(sparse, dense)
