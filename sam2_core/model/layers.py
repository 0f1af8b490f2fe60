"""Building blocks that several parts of the network share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .precision import fuses_bfloat16

Activation = Callable[[Tensor], Tensor]


class ObjectLinear(nn.Linear):
    """A linear layer over some tokens of each of N objects, `[N, T, C]` to `[N, T, D]`.

    `nn.Linear` makes one product of all N x T rows; few rows are then summed in an order that depends on how
    many they are, so that every object would change the others' last digits. Here each has its own product.
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight.T.expand(len(x), -1, -1))


class ObjectPointwise(nn.Conv2d):
    """A 1 x 1 convolution over the maps of N objects, `[N, C, H, W]` to `[N, D, H, W]`, likewise."""

    def __init__(self, dim: int, dim_out: int) -> None:
        super().__init__(dim, dim_out, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        weight = self.weight.flatten(1).expand(len(x), -1, -1)
        return torch.baddbmm(self.bias[:, None], weight, x.flatten(2)).unflatten(2, x.shape[2:])


class MLP(nn.Module):
    """Linear layers with an activation between them (none after the last)."""

    linear: ClassVar[type[nn.Linear]] = nn.Linear

    def __init__(self, dims: tuple[int, ...], activation: Activation = F.relu) -> None:
        super().__init__()
        self.layers = nn.ModuleList(self.linear(a, b) for a, b in pairwise(dims))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class ObjectMLP(MLP):
    """An MLP of `ObjectLinear` layers."""

    linear = ObjectLinear


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of a map `[B, C, H, W]`, at each position."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def infers_on_cpu(x: Tensor) -> bool:
    """Whether `x` is computed on a CPU and no gradient is wanted: what is in a cache then costs least."""
    return torch.is_inference_mode_enabled() and x.is_cpu


_QUERY_BLOCK = 512
"""Queries that `attend_in_blocks` takes at once: enough for a fast product, few enough for the memory."""


def attend_in_blocks(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention as two matrix products: `[..., L, C]`, `[..., T, C]` and `[..., T, D]` to `[..., L, D]`."""
    scaled = q * q.shape[-1] ** -0.5
    keys = k.transpose(-1, -2)
    blocks = [(block @ keys).softmax(dim=-1) @ v for block in scaled.split(_QUERY_BLOCK, dim=-2)]
    return torch.cat(blocks, dim=-2)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """Attention over `[B, heads, L, D]` of equal widths, by whatever is fastest.

    `mask` is True where a key may be read, or added to the scores. `dropout` of the weights are left out.
    """
    if mask is None and infers_on_cpu(q) and q.dtype == torch.bfloat16 and not fuses_bfloat16():
        return attend_in_blocks(q, k, v)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)


class Attention(nn.Module):
    """Multi-head attention whose inner width may be smaller than its outer one.

    Args:
        dim: channels of queries and of the output.
        heads: number of heads; divides `inner_dim`.
        inner_dim: channels between the projections; `dim` if not given.
        key_dim: channels of keys and values; `dim` if not given.
    """

    linear: ClassVar[type[nn.Linear]] = nn.Linear

    def __init__(
        self, dim: int, heads: int, inner_dim: int | None = None, key_dim: int | None = None
    ) -> None:
        super().__init__()
        inner_dim = inner_dim or dim
        key_dim = key_dim or dim
        self.heads = heads
        self.dropout = nn.Dropout(0.0)  # of the weights, in training
        self.q_proj = self.linear(dim, inner_dim)
        self.k_proj = self.linear(key_dim, inner_dim)
        self.v_proj = self.linear(key_dim, inner_dim)
        self.out_proj = self.linear(inner_dim, dim)

    def split_heads(self, x: Tensor) -> Tensor:
        """`[B, L, D]` to `[B, heads, L, D / heads]`."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention over projected `[B, heads, L, D]`; `mask` is True where a key may be read, or added."""
        dropout = self.dropout.p if self.training else 0.0
        return self.out_proj(attention(q, k, v, mask, dropout).transpose(1, 2).flatten(2))


class ObjectAttention(Attention):
    """Attention of `ObjectLinear` layers, each object within itself."""

    linear = ObjectLinear

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """Queries `[B, Lq, dim]`, keys and values `[B, Lk, key_dim]` to `[B, Lq, dim]`; mask as in attend."""
        q, k, v = self.q_proj(q), self.k_proj(k), self.v_proj(v)
        return self.attend(self.split_heads(q), self.split_heads(k), self.split_heads(v), mask)


def flatten_map(x: Tensor) -> Tensor:
    """Map `[B, C, H, W]` to tokens `[B, H * W, C]`, row by row."""
    return x.flatten(2).transpose(1, 2)


def unflatten_map(x: Tensor, size: int) -> Tensor:
    """Tokens `[B, size * size, C]` to a map `[B, C, size, size]`; the inverse of `flatten_map`."""
    return x.transpose(1, 2).unflatten(2, (size, size))


def upsample_logits(logits: Tensor, size: int) -> Tensor:
    """Mask logits `[B, M, h, w]` to `[B, M, size, size]`, bilinear, in float32."""
    return F.interpolate(logits.to(torch.float32), size=(size, size), mode="bilinear", align_corners=False)
