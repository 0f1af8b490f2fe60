"""The memory encoder: turns a mask and the frame's embedding into a memory (paper, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import Sam2Config
from .layers import LayerNorm2d, ObjectPointwise


class MaskDownsampler(nn.Module):
    """Mask `[N, 1, S, S]` to `[N, C, s, s]` by four strided convolutions."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential()
        channels = 1
        for _ in range(4):
            self.encoder.append(nn.Conv2d(channels, 4 * channels, kernel_size=3, stride=2, padding=1))
            self.encoder.append(LayerNorm2d(4 * channels))
            self.encoder.append(nn.GELU())
            channels *= 4
        self.encoder.append(ObjectPointwise(channels, dim))

    def forward(self, mask: Tensor) -> Tensor:
        return self.encoder(mask)


class ConvNextBlock(nn.Module):
    """A ConvNeXt block (arXiv 2201.03545): depth-wise 7 x 7, norm, MLP, scaled, added."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = LayerNorm2d(dim)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        # ConvNeXt's 1e-6 suits long schedules; short training from scratch needs the block to matter early.
        self.gamma = nn.Parameter(torch.full((dim,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


class Fuser(nn.Module):
    """The blocks that mix mask and image features."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConvNextBlock(dim) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class MemoryEncoder(nn.Module):
    """Embedding `[1 or N, C, s, s]` and mask `[N, 1, S, S]` to memories `[N, Cm, s, s]`."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.mask_downsampler = MaskDownsampler(dim)
        self.pix_feat_proj = nn.Conv2d(dim, dim, kernel_size=1)
        self.fuser = Fuser(dim)
        self.out_proj = ObjectPointwise(dim, config.memory_dim)

    def forward(self, embedding: Tensor, mask: Tensor) -> Tensor:
        return self.out_proj(self.fuser(self.pix_feat_proj(embedding) + self.mask_downsampler(mask)))
