"""What a frame costs at least, counted from the configuration, and what a device can do, measured on it.

Counted are multiplications and additions of products, convolutions and attention; the rest is small beside.
Each stage reads its inputs and weights once and writes its outputs once: no executor can move fewer bytes,
unless it joins stages.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from sam2_core.backends.programs import Bucket, signature
from sam2_core.model import Sam2Config, Sam2Network
from sam2_core.model.mask_decoder import NUM_MASKS, OUTPUT_TOKENS

_NO_PROMPT = 2
"""Tokens of a frame without a prompt: a padding point, and the one that ends the list."""


@dataclass(frozen=True)
class Cost:
    """Of one stage on one frame."""

    flop: float
    bytes: float


@dataclass(frozen=True)
class Rates:
    """Of a device."""

    flops: float
    """Of a large square product, in the precision of the heavy stages [1/s]."""
    bytes: float
    """Read and written by a large copy [1/s]."""


def tracking_costs(network: Sam2Network, objects: int) -> dict[str, Cost]:
    """By stage, for a frame on which so many objects read a full memory of one conditioning frame."""
    config = network.config
    maps, pointers = config.num_memories, config.max_pointers
    flop = {
        "encode_image": encoder_flop(config),
        "attend_memory": attention_flop(config, objects, maps, pointers),
        "decode_masks": objects * decoder_flop(config),
        "encode_memory": memory_encoder_flop(config, objects),
    }
    buckets = {
        "encode_image": Bucket("encode_image"),
        "attend_memory": Bucket("attend_memory", objects, maps, pointers),
        "decode_masks": Bucket("decode_tracked", objects),
        "encode_memory": Bucket("encode_memory", objects),
    }
    modules = {
        "encode_image": network.image_encoder,
        "attend_memory": network.memory_attention,
        "decode_masks": network.sam_mask_decoder,
        "encode_memory": network.memory_encoder,
    }
    costs = {}
    for stage, bucket in buckets.items():
        tensors = signature(bucket, config)
        moved = sum(
            torch.Size(spec.shape).numel() * spec.dtype.itemsize
            for spec in (*tensors.inputs.values(), *tensors.outputs.values())
        )
        weights = sum(weight.nbytes for weight in modules[stage].parameters())
        costs[stage] = Cost(flop[stage], moved + weights)
    return costs


def encoder_flop(config: Sam2Config) -> float:
    """Hiera, its neck, and the decoder's two projections of the skips, on one image."""
    hiera, side, dim = config.hiera, config.mask_size, config.hidden_dim
    total = 2.0 * side**2 * 7 * 7 * 3 * hiera.width
    index, dim_in = 0, hiera.width
    for stage, depth in enumerate(hiera.depths):
        width = hiera.width * 2**stage
        for position in range(depth):
            pooled = stage > 0 and position == 0
            window = 0 if index in hiera.global_blocks else hiera.windows[stage - 1 if pooled else stage]
            total += _block_flop(side, dim_in, width, window, pooled)
            side, dim_in, index = side // 2 if pooled else side, width, index + 1
        total += 2.0 * side**2 * width * dim
    skips = 2.0 * config.mask_size**2 * dim * (dim // 8) + 2.0 * (config.mask_size // 2) ** 2 * dim * (
        dim // 4
    )
    return total + skips


def _block_flop(side: int, dim_in: int, dim: int, window: int, pooled: bool) -> float:
    window = window or side
    tokens = (-(-side // window) * window) ** 2
    queries = tokens // 4 if pooled else tokens
    left = (side // 2 if pooled else side) ** 2
    shortcut = 2.0 * side**2 * dim_in * dim if dim_in != dim else 0.0
    projections = 2.0 * side**2 * dim_in * 3 * dim + 2.0 * left * dim * dim
    attention = 4.0 * queries * window**2 * dim  # over what fills the windows, too
    return shortcut + projections + attention + 16.0 * left * dim**2


def attention_flop(config: Sam2Config, objects: int, maps: int, pointers: int) -> float:
    """Memory attention, where the first self-attention is the objects' common one and values are narrow."""
    length, dim, narrow = config.embedding_size**2, config.hidden_dim, config.memory_dim
    tokens = maps * length + pointers * config.pointer_splits
    alone = 8.0 * length * dim**2 + 4.0 * length**2 * dim  # self-attention
    asked = 2.0 * length * dim**2  # the queries of the cross-attention
    crossed = (
        2.0 * tokens * narrow * dim
        + 2.0 * length * tokens * (dim + narrow)
        + 2.0 * length * narrow * dim
        + 2.0 * length * dim**2
    )
    mlp = 4.0 * length * dim * config.memory_mlp_dim
    later = config.memory_layers - 1
    each = config.memory_layers * (crossed + mlp) + later * (alone + asked)
    times = 2.0 * pointers * dim * narrow if config.generation == "2.1" else 0.0
    return alone + asked + objects * (each + times)


def decoder_flop(config: Sam2Config) -> float:
    """The mask decoder for one object on a frame without a prompt, and its pointers."""
    length, dim = config.embedding_size**2, config.hidden_dim
    tokens, half = OUTPUT_TOKENS + _NO_PROMPT, dim // 2

    def across(queries: int, keys: int) -> float:
        return 4.0 * (queries + keys) * dim * half + 4.0 * queries * keys * half

    own = 8.0 * tokens * dim**2 + 4.0 * tokens**2 * dim
    mlp = 4.0 * tokens * dim * config.decoder_mlp_dim
    blocks = 2 * (own + mlp + across(tokens, length) + across(length, tokens)) + across(tokens, length)
    upscaling = 2.0 * length * dim * dim + 2.0 * 4 * length * (dim // 4) * (dim // 8) * 4
    hyper = NUM_MASKS * 2.0 * (2 * dim**2 + dim * (dim // 8))
    head = config.iou_head_dim
    heads = 2.0 * (dim * head + head**2 + head * NUM_MASKS) + 2.0 * (2 * dim**2 + dim)
    masks = 2.0 * NUM_MASKS * (dim // 8) * 16 * length
    return blocks + upscaling + hyper + heads + masks + NUM_MASKS * 6.0 * dim**2


def memory_encoder_flop(config: Sam2Config, objects: int) -> float:
    """The memory encoder; the frame's own projection is common to all objects."""
    length, dim = config.embedding_size**2, config.hidden_dim
    total, channels, side = 0.0, 1, config.image_size
    for _ in range(4):
        side //= 2
        total += 2.0 * side**2 * 9 * channels * 4 * channels
        channels *= 4
    total += 2.0 * length * channels * dim
    total += 2 * (2.0 * 49 * length * dim + 16.0 * length * dim**2)
    total += 2.0 * length * dim * config.memory_dim
    return objects * total + 2.0 * length * dim**2


def measure_rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """What a device reaches in a large product and a large copy."""
    side, size = (8192, 2**30) if device.type == "cuda" else (1024, 2**26)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product = median_seconds(lambda: torch.matmul(a, b), device)
    copy = median_seconds(lambda: target.copy_(source), device)
    return Rates(2.0 * side**3 / product, 2.0 * size / copy)


def median_seconds(run: Callable[[], object], device: torch.device, runs: int = 20) -> float:
    """The median time of a run after some that warm up, the device's work included."""
    times = []
    for index in range(runs + 5):
        synchronise(device)
        started = time.perf_counter()
        run()
        synchronise(device)
        if index >= 5:
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def synchronise(device: torch.device) -> None:
    """Waits until a device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
