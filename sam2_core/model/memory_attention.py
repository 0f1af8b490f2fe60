"""Memory attention: conditions a frame's embedding on memories and pointers (paper, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import Sam2Config
from .layers import Attention, attend_in_blocks, infers_on_cpu
from .positions import rotary_tables, rotate
from .precision import fuses_bfloat16


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


class MemoryCrossAttention(Attention):
    """Attention from a frame's tokens to memory tokens."""

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, cos: Tensor, sin: Tensor, readable: Tensor | None
    ) -> Tensor:
        """`[1 or N, L, C]` to `[N, L, C]`, reading `keys` and `values` `[N, T, Cm]`; tables `[T, C / 2]`."""
        length = x.shape[1]
        q = rotate(project_pairs(self.q_proj, x), cos[:length], sin[:length])
        k = rotate(project_pairs(self.k_proj, keys), cos, sin)
        if readable is not None and infers_on_cpu(k) and len(k) == 1:
            k, values, readable = k[:, readable[0]], values[:, readable[0]], None
        if readable is None and infers_on_cpu(k) and (k.dtype == torch.float32 or not fuses_bfloat16()):
            # A query's weights add up to 1, so the projection may follow the weighted sum, which then costs a
            # quarter. PyTorch's fused kernel wants equal widths.
            return self.out_proj(self.v_proj(attend_in_blocks(q, k, values)))
        q, k, v = (self.split_heads(t) for t in (q.expand(len(k), -1, -1), k, self.v_proj(values)))
        return self.attend(q, k, v, None if readable is None else readable[:, None, None])


class MemoryAttentionLayer(nn.Module):
    """Self-attention, cross-attention to the memory, MLP; each after a norm, each added.

    In training `dropout` leaves out some of what is added, and of the MLP's hidden activations.
    """

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
        self.dropout = nn.Dropout(0.0)

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, cos: Tensor, sin: Tensor, readable: Tensor | None
    ) -> Tensor:
        """Tokens `[1 or N, L, C]` to `[N, L, C]`; memory tokens and tables as in `MemoryCrossAttention`."""
        return self.read(self.look(x, cos, sin), keys, values, cos, sin, readable)

    def look(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """The first half, the self-attention, which reads no memory yet."""
        length = x.shape[1]
        return x + self.dropout(self.self_attn(self.norm1(x), cos[:length], sin[:length]))

    def read(
        self, x: Tensor, keys: Tensor, values: Tensor, cos: Tensor, sin: Tensor, readable: Tensor | None
    ) -> Tensor:
        """The second half, of what `look` gave."""
        x = x + self.dropout(self.cross_attn_image(self.norm2(x), keys, values, cos, sin, readable))
        hidden = F.relu(self.linear1(self.norm3(x)), inplace=True)
        return x + self.dropout(self.linear2(self.dropout(hidden)))


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

    @property
    def dropout(self) -> float:
        """How much of its layers' activations and attention weights is left out in training."""
        rate: float = cast(MemoryAttentionLayer, self.layers[0]).dropout.p
        return rate

    @dropout.setter
    def dropout(self, rate: float) -> None:
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = rate

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
        if infers_on_cpu(x):
            return self.norm(self._one_by_one(x, keys, values, cos, sin, readable))
        for layer in self.layers:
            x = layer(x, keys, values, cos, sin, readable)
        return self.norm(x)

    def _one_by_one(
        self, x: Tensor, keys: Tensor, values: Tensor, cos: Tensor, sin: Tensor, readable: Tensor | None
    ) -> Tensor:
        """The layers, object by object.

        A processor's cache then holds what goes from one operation to the next, no object's last digits
        depend on the others, and tokens that it may not read cost little.
        """
        layers = cast(Sequence[MemoryAttentionLayer], self.layers)
        x = layers[0].look(x, cos, sin).expand(len(keys), -1, -1)
        found = []
        for index, one in enumerate(x.split(1)):
            own = slice(index, index + 1)
            memory = (keys[own], values[own], cos, sin, None if readable is None else readable[own])
            for layer in layers:
                if layer is not layers[0]:
                    one = layer.look(one, cos, sin)
                one = layer.read(one, *memory)
            found.append(one)
        return torch.cat(found)
