"""Memory attention: conditions a frame's embedding on memories and pointers (paper, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import Sam2Config
from .layers import Attention
from .positions import rotary_tables, rotate


def rotary_order(x: Tensor) -> Tensor:
    """Rows 2i and 2i + 1 of `[D, ...]` as rows i and i + D / 2: the weights or biases of `project_pairs`."""
    return x.unflatten(0, (-1, 2)).transpose(0, 1).flatten(0, 1)


def project_pairs(layer: nn.Linear, x: Tensor) -> Tensor:
    """A linear layer whose outputs 2i and 2i + 1 come out as channels i and i + D / 2.

    The weights mean the former to be turned together. The latter can be turned three times as fast, and any
    order of the channels will do that queries and keys agree on.
    """
    return F.linear(x, rotary_order(layer.weight), rotary_order(layer.bias))


class RotarySelfAttention(Attention):
    """Self-attention over a map's tokens with 2D rotary positions."""

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """`[B, L, C]` to `[B, L, C]`."""
        q = rotate(project_pairs(self.q_proj, x), cos, sin)
        k = rotate(project_pairs(self.k_proj, x), cos, sin)
        return self.attend(*(self.split_heads(t) for t in (q, k, self.v_proj(x))))


_QUERY_BLOCK = 256
"""Queries that `attend_narrow` takes at once: enough for a fast product, few enough for the cache."""


def attend_narrow(q: Tensor, k: Tensor, values: Tensor, readable: Tensor | None) -> Tensor:
    """Attention to values that are narrower than the keys, object by object.

    What one object reads depends on no other one, and tokens that it may not read cost nothing.

    Args:
        q: `[1 or N, L, C]`.
        k: `[N, T, C]`.
        values: `[N, T, Cm]`.
        readable: bool `[N, T]`; None: all are.

    Returns:
        `[N, L, Cm]`.
    """
    out = values.new_empty(len(k), q.shape[1], values.shape[2])
    scaled = (q * q.shape[-1] ** -0.5).expand(len(k), -1, -1)
    for index in range(len(k)):
        tokens = slice(None) if readable is None else readable[index]
        keys, read = k[index, tokens].T, values[index, tokens]
        blocks = zip(scaled[index].split(_QUERY_BLOCK), out[index].split(_QUERY_BLOCK), strict=True)
        for queries, place in blocks:
            torch.matmul((queries @ keys).softmax(dim=-1), read, out=place)
    return out


class MemoryCrossAttention(Attention):
    """Attention from a frame's tokens to memory tokens."""

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, cos: Tensor, sin: Tensor, readable: Tensor | None
    ) -> Tensor:
        """`[1 or N, L, C]` to `[N, L, C]`, reading `keys` and `values` `[N, T, Cm]`; tables `[T, C / 2]`."""
        length = x.shape[1]
        q = rotate(project_pairs(self.q_proj, x), cos[:length], sin[:length])
        k = rotate(project_pairs(self.k_proj, keys), cos, sin)
        if torch.is_inference_mode_enabled() and q.is_cpu and q.dtype == torch.float32:
            # A query's weights add up to 1, so the projection may follow the weighted sum, which then costs a
            # quarter. PyTorch's fused kernel wants equal widths, but wins in bfloat16, and to train with.
            return self.out_proj(self.v_proj(attend_narrow(q, k, values, readable)))
        q, k, v = (self.split_heads(t) for t in (q.expand(len(k), -1, -1), k, self.v_proj(values)))
        return self.attend(q, k, v, None if readable is None else readable[:, None, None])


class MemoryAttentionLayer(nn.Module):
    """Self-attention, cross-attention to the memory, MLP; each after a norm, each added."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.self_attn = RotarySelfAttention(dim, heads=1)
        self.cross_attn_image = MemoryCrossAttention(dim, heads=1, key_dim=config.memory_dim)
        self.linear1 = nn.Linear(dim, config.memory_mlp_dim)
        self.linear2 = nn.Linear(config.memory_mlp_dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, cos: Tensor, sin: Tensor, readable: Tensor | None
    ) -> Tensor:
        length = x.shape[1]
        x = x + self.self_attn(self.norm1(x), cos[:length], sin[:length])
        x = x + self.cross_attn_image(self.norm2(x), keys, values, cos, sin, readable)
        return x + self.linear2(F.relu(self.linear1(self.norm3(x))))


class MemoryAttention(nn.Module):
    """The stack of layers.

    What the objects of a frame share is computed once: the frame comes in as a batch of one and becomes
    a batch of N only where it meets the N objects' memories, in the first layer's cross-attention.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MemoryAttentionLayer(config) for _ in range(config.memory_layers))
        self.norm = nn.LayerNorm(config.hidden_dim)
        cos, sin = rotary_tables(config.hidden_dim, config.embedding_size)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, maps: int, readable: Tensor | None) -> Tensor:
        """Conditions `x` `[1 or N, L, C]` on N objects' memories.

        Args:
            x: the frame's tokens, position encoding added.
            keys: memory tokens with position encoding `[N, maps * L + pointer tokens, Cm]`.
            values: the same tokens without it.
            maps: how many memory maps stand before the pointer tokens.
            readable: bool `[N, tokens]`, whether a token may be read; None: all are.

        Returns:
            `[N, L, C]`.
        """
        # Every map turns as the frame does; pointers have no place and stay as they are.
        pointers = (keys.shape[1] - maps * x.shape[1], self.cos.shape[1])
        cos = torch.cat((self.cos.repeat(maps, 1), self.cos.new_ones(pointers)))
        sin = torch.cat((self.sin.repeat(maps, 1), self.sin.new_zeros(pointers)))
        for layer in self.layers:
            x = layer(x, keys, values, cos, sin, readable)
        return self.norm(x)
