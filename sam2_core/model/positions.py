"""Position encodings, all in real arithmetic."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def frequencies(count: int) -> Tensor:
    """Inverse wavelengths of a sine encoding: equal for each sine-cosine pair, base 10000."""
    return 10000.0 ** (-2 * (torch.arange(count) // 2) / count)


def sine_map(dim: int, size: int) -> Tensor:
    """The 2D sine encoding of DETR (arXiv 2005.12872) of a square map: `[dim, size, size]`, rows first."""
    steps = torch.arange(1, size + 1, dtype=torch.float32) / (size + 1e-6) * (2 * math.pi)
    angles = steps[:, None] * frequencies(dim // 2)
    axis = torch.stack((angles[:, 0::2].sin(), angles[:, 1::2].cos()), dim=2).flatten(1).T
    rows = axis[:, :, None].expand(-1, -1, size)
    columns = axis[:, None, :].expand(-1, size, -1)
    return torch.cat((rows, columns))


def sine_time(time: Tensor, frequencies: Tensor) -> Tensor:
    """Sine encoding of scalars: `[...]` to `[..., 2 * D]` at D frequencies, sines before cosines.

    As in Vaswani et al. 2017 (arXiv 1706.03762).
    """
    angles = time.unsqueeze(-1) * frequencies
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def rotary_tables(dim: int, size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[size * size, dim / 2]` of 2D rotary encoding (RoPE, arXiv 2104.09864).

    The first half of the channel pairs turns with x, the second with y.
    """
    frequencies = 10000.0 ** (-torch.arange(0, dim, 4)[: dim // 4] / dim)
    index = torch.arange(size * size)
    angles = torch.cat(
        (
            torch.outer((index % size).float(), frequencies),
            torch.outer((index // size).float(), frequencies),
        ),
        dim=1,
    )
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns each channel pair (i, i + D / 2) of `[..., L, D]` by the angles of `[L, D / 2]`, in float32."""
    first, second = x.float().chunk(2, dim=-1)
    turned = (torch.addcmul(first * cos, second, sin, value=-1), torch.addcmul(second * cos, first, sin))
    return torch.cat(turned, dim=-1).to(x.dtype)


class RandomFourier(nn.Module):
    """Fourier features of positions with random frequencies (Tancik et al. 2020), as in SAM."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, dim // 2))

    def forward(self, positions: Tensor) -> Tensor:
        """Positions `[..., 2]` (x, y), 0 to 1 across the image, to `[..., dim]`, in float32."""
        angles = 2 * math.pi * ((2 * positions.float() - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat((angles.sin(), angles.cos()), dim=-1)

    def grid(self, size: int) -> Tensor:
        """The encoding of the centres of a `size` x `size` grid: `[size * size, dim]`."""
        device = self.positional_encoding_gaussian_matrix.device
        centres = (torch.arange(size, device=device) + 0.5) / size
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        return self(torch.stack((x, y), dim=-1)).flatten(0, 1)
