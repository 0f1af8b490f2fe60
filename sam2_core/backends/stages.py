"""The network's stages as modules of fixed shapes, for exporters, compilers and CUDA graphs.

A stage takes and returns the tensors of its signature. Everything that does not depend on them is computed
here once: position encodings, rotary tables, weights in the order in which they are used. Slots that are not
valid are masked, exactly: their weight after the softmax is zero, and what they hold is never read.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..model import PromptTokens, Sam2Network
from ..model.hiera import Hiera
from ..model.layers import (
    LayerNorm2d,
    ObjectLinear,
    ObjectPointwise,
    flatten_map,
    unflatten_map,
    upsample_logits,
)
from ..model.mask_decoder import OUTPUT_TOKENS
from ..model.memory_attention import MemoryCrossAttention, RotarySelfAttention, rotary_order
from ..model.network import MEMORY_MASK_BIAS, MEMORY_MASK_SCALE
from ..model.positions import rotate
from .memory_reading import ReadMemory, read_narrow
from .programs import Bucket

_Module = TypeVar("_Module", bound=nn.Module)

_NOT_READ = -3e4
"""Added to the scores of what is not read: no score reaches it, its exponential is 0, and float16 holds it.
Infinity would make NaN of objects for which nothing is valid, as those that fill a bucket are."""


def stage_module(network: Sam2Network, bucket: Bucket, half: torch.dtype | None = None) -> nn.Module:
    """A stage at a bucket's fixed shape, on the network's device, for inference.

    Args:
        network: its weights are shared where they are used as they are.
        bucket: which stage.
        half: bfloat16 or float16, in which the products of the heavy stages are computed, while norms,
            residuals, positions and softmax stay in float32; None: as the network has it.

    Raises:
        ValueError: the bucket's stage is unknown.
    """
    stages: dict[str, Callable[[Sam2Network, Bucket, torch.dtype | None], nn.Module]] = {
        "encode_image": EncodeImage,
        "attend_memory": AttendMemory,
        "decode_tracked": DecodeTracked,
        "decode_prompted": DecodePrompted,
        "encode_memory": EncodeMemory,
    }
    if bucket.stage not in stages:
        raise ValueError(f"stage {bucket.stage!r} is unknown; allowed: {', '.join(stages)}")
    if half is None and network.precision == "bfloat16":
        half = torch.bfloat16
    with torch.no_grad():
        return stages[bucket.stage](network, bucket, half).eval()


# Layers of the network in the form that graphs have: each takes the place of the one that it derives from.


class _Linear(nn.Linear):
    """Computes in its weights' precision."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


class _Conv2d(nn.Conv2d):
    """Likewise."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


class _LayerNorm(nn.LayerNorm):
    """Always in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())


class _LayerNorm2d(LayerNorm2d):
    """Likewise."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())


class _Hiera(Hiera):
    """With its position embedding as a constant."""

    positions: Tensor

    def position_embedding(self, size: int) -> Tensor:
        return self.positions


class _RotarySelfAttention(RotarySelfAttention):
    """With the projections' channels in rotary order already."""

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k = (rotate(layer(x), cos, sin) for layer in (self.q_proj, self.k_proj))
        return self.attend(*(self.split_heads(t) for t in (q, k, self.v_proj(x))))


class _MemoryCrossAttention(MemoryCrossAttention):
    """Likewise; reads the memory in one of several ways."""

    reading: ReadMemory = staticmethod(read_narrow)

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, cos: Tensor, sin: Tensor, readable: Tensor | None
    ) -> Tensor:
        assert readable is not None
        length = x.shape[1]
        q = rotate(self.q_proj(x), cos[:length], sin[:length]).expand(len(keys), -1, -1)
        k = rotate(self.k_proj(keys), cos, sin)
        read = self.reading(self.split_heads(q), self.split_heads(k), values, readable, self.v_proj)
        return self.out_proj(read)


_FORMS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: _Linear,
    ObjectLinear: _Linear,
    nn.Conv2d: _Conv2d,
    ObjectPointwise: _Conv2d,
    nn.LayerNorm: _LayerNorm,
    LayerNorm2d: _LayerNorm2d,
    Hiera: _Hiera,
    RotarySelfAttention: _RotarySelfAttention,
    MemoryCrossAttention: _MemoryCrossAttention,
}


def _graph_form(module: _Module, half: torch.dtype | None = None) -> _Module:
    """A copy that shares the weights, with every layer in the form of `_FORMS`, products in `half`."""
    copied = copy.copy(module)
    copied.__class__ = _FORMS.get(type(module), type(module))  # type: ignore[assignment]
    copied._buffers = dict(module._buffers)
    copied._parameters = dict(module._parameters)
    copied._modules = {
        name: None if child is None else _graph_form(child, half) for name, child in module._modules.items()
    }
    if half is not None and isinstance(copied, nn.Linear | nn.Conv2d):
        _change_weights(copied, lambda weight: weight.to(half))
    if isinstance(copied, RotarySelfAttention | MemoryCrossAttention):
        for projection in (copied.q_proj, copied.k_proj):
            _change_weights(projection, rotary_order)
    return copied


def _change_weights(layer: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    for name, weight in layer.named_parameters(recurse=False):
        setattr(layer, name, nn.Parameter(change(weight), requires_grad=False))


class _Stage(nn.Module):
    """What the stages have in common."""

    def __init__(self, network: Sam2Network) -> None:
        super().__init__()
        self.config = network.config

    def _keep(self, **constants: Tensor) -> None:
        """Stores constants beside the weights."""
        for name, constant in constants.items():
            self.register_buffer(name, constant.detach(), persistent=False)


class EncodeImage(_Stage):
    """`Sam2Network.encode_image` of one image."""

    def __init__(self, network: Sam2Network, bucket: Bucket, half: torch.dtype | None) -> None:
        super().__init__(network)
        self.encoder = _graph_form(network.image_encoder, half)
        decoder = network.sam_mask_decoder
        self.conv_s0, self.conv_s1 = _graph_form(decoder.conv_s0, half), _graph_form(decoder.conv_s1, half)
        positions = network.image_encoder.trunk.position_embedding(self.config.mask_size)
        self.encoder.trunk.register_buffer("positions", positions.detach(), persistent=False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        stride4, stride8, stride16 = self.encoder(pixels)
        return stride16.float(), self.conv_s0(stride4).float(), self.conv_s1(stride8).float()


class AttendMemory(_Stage):
    """`Sam2Network.attend_memory` of K maps and P pointers of each of N objects."""

    sine_embedding: Tensor
    sine_memory: Tensor
    time_rows: Tensor
    frequencies: Tensor
    cos: Tensor
    sin: Tensor

    def __init__(self, network: Sam2Network, bucket: Bucket, half: torch.dtype | None) -> None:
        super().__init__(network)
        self.attention = attention = _graph_form(network.memory_attention, half)
        if self.config.generation == "2.1":
            self.project_time = _graph_form(network.obj_ptr_tpos_proj)
        # Every map turns as the frame does; pointers have no place and stay as they are.
        pointers = (self.config.pointer_splits * bucket.pointers, attention.cos.shape[1])
        self._keep(
            sine_embedding=0.1 * network.sine_embedding,
            sine_memory=network.sine_memory,
            time_rows=network.maskmem_tpos_enc[:, 0, 0],
            frequencies=network.time_frequencies,
            cos=torch.cat((attention.cos.repeat(bucket.maps, 1), attention.cos.new_ones(pointers))),
            sin=torch.cat((attention.sin.repeat(bucket.maps, 1), attention.sin.new_zeros(pointers))),
        )

    def read_with(self, reading: ReadMemory) -> None:
        """Has the memory read in another way than `read_narrow`."""
        for layer in self.attention.modules():
            if isinstance(layer, _MemoryCrossAttention):
                layer.reading = reading

    def forward(
        self,
        embedding: Tensor,
        maps: Tensor,
        rows: Tensor,
        pointers: Tensor,
        offsets: Tensor,
        map_valid: Tensor,
        pointer_valid: Tensor,
    ) -> tuple[Tensor, ...]:
        size, splits = self.config.embedding_size, self.config.pointer_splits
        # Whatever an empty slot holds, be it NaN, must not be multiplied with its weight of 0.
        maps = torch.where(map_valid[..., None, None], maps.flatten(3).transpose(2, 3), 0.0)
        pointers = torch.where(pointer_valid[..., None], pointers, 0.0)
        pointers = pointers.unflatten(2, (splits, -1))
        values = torch.cat([maps.flatten(1, 2), pointers.flatten(1, 2)], dim=1)
        maps = maps + self.sine_memory + F.embedding(rows, self.time_rows)[:, :, None]
        if self.config.generation == "2.1":
            time = offsets[..., None] / (self.config.max_pointers - 1) * self.frequencies
            encoded = self.project_time(torch.cat((time.sin(), time.cos()), dim=-1))
            pointers = pointers + encoded[:, :, None]
        keys = torch.cat([maps.flatten(1, 2), pointers.flatten(1, 2)], dim=1)

        valid = [
            map_valid[..., None].expand(-1, -1, size * size).flatten(1),
            pointer_valid[..., None].expand(-1, -1, splits).flatten(1),
        ]
        mask = torch.where(torch.cat(valid, dim=1), 0.0, _NOT_READ)[:, None, None]
        x = flatten_map(embedding) + self.sine_embedding
        for layer in self.attention.layers:
            x = layer(x, keys, values, self.cos, self.sin, mask)
        return (unflatten_map(self.attention.norm(x), size),)


class _DecodeMasks(_Stage):
    """`Sam2Network.decode_masks` of N objects."""

    positions: Tensor

    def __init__(self, network: Sam2Network, bucket: Bucket, half: torch.dtype | None) -> None:
        super().__init__(network)
        self.decoder = _graph_form(network.sam_mask_decoder)
        self.project_pointers = _graph_form(network.obj_ptr_proj)
        self._keep(positions=network.sam_prompt_encoder.dense_positions())

    def decode(
        self, embedding: Tensor, skip4: Tensor, skip8: Tensor, prompts: PromptTokens, mask: Tensor | None
    ) -> tuple[Tensor, ...]:
        decoded = self.decoder(embedding, self.positions, skip4, skip8, prompts, mask)
        logits, iou, tokens, score = decoded
        return logits, iou, self.project_pointers(tokens), score


class DecodeTracked(_DecodeMasks):
    """Without a prompt, as on every frame on which objects are tracked."""

    sparse: Tensor
    dense: Tensor

    def __init__(self, network: Sam2Network, bucket: Bucket, half: torch.dtype | None) -> None:
        super().__init__(network, bucket, half)
        no_prompt = network.encode_prompts(None, None)
        self._keep(sparse=no_prompt.sparse, dense=no_prompt.dense)

    def forward(self, embedding: Tensor, skip4: Tensor, skip8: Tensor) -> tuple[Tensor, ...]:
        no_prompt = PromptTokens(self.sparse.expand(len(embedding), -1, -1), self.dense)
        return self.decode(embedding, skip4, skip8, no_prompt, None)


class DecodePrompted(_DecodeMasks):
    """With prompts of up to `PROMPT_TOKENS` tokens."""

    def forward(
        self,
        embedding: Tensor,
        skip4: Tensor,
        skip8: Tensor,
        sparse: Tensor,
        token_valid: Tensor,
        dense: Tensor,
    ) -> tuple[Tensor, ...]:
        sparse = torch.where(token_valid[..., None], sparse, 0.0)
        # The decoder's own tokens stand before those of the prompt.
        mask = F.pad(torch.where(token_valid, 0.0, _NOT_READ), (OUTPUT_TOKENS, 0))
        return self.decode(embedding, skip4, skip8, PromptTokens(sparse, dense), mask[:, None, None])


class EncodeMemory(_Stage):
    """`Sam2Network.encode_memory` of N objects, each binarised or not."""

    no_object: Tensor

    def __init__(self, network: Sam2Network, bucket: Bucket, half: torch.dtype | None) -> None:
        super().__init__(network)
        self.encoder = _graph_form(network.memory_encoder, half)
        if self.config.generation == "2.1":
            self._keep(no_object=network.no_obj_embed_spatial[..., None, None])

    def forward(
        self, embedding: Tensor, logits: Tensor, score: Tensor, binarize: Tensor
    ) -> tuple[Tensor, ...]:
        mask = upsample_logits(logits, self.config.image_size)
        mask = torch.where(binarize[:, None, None, None], (mask > 0).float(), mask.sigmoid())
        memory = self.encoder(embedding, mask * MEMORY_MASK_SCALE + MEMORY_MASK_BIAS).float()
        if self.config.generation == "2.1":
            memory = memory + (score <= 0).float()[:, None, None, None] * self.no_object
        return (memory,)
