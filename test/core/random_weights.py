"""Seeded random weights that hide no error.

Plain random initialisation would: position embeddings and the fuser's scales are small, masks are flat,
attention is even, and objects never (or always) visible, so that a wrong encoding or a wrong branch changes
nothing. Here every tensor has a random value, attention is peaked, the memory weighs, and mask logits,
memories, pointers and object scores have the scales that they have in trained models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scenario import PROMPTS, track
from torch import nn

from sam2_core.model import CONFIGS, Sam2Network
from sam2_core.model.preprocess import preprocess

Scores = Literal["both signs", "visible"]

_ATTENTION_GAIN = 1.6
_MEMORY_GAIN = 6.0
_TIME_GAIN = 3.0
_EMBEDDINGS = ("embed", "tpos_enc", "token", "no_obj", "no_mem")


def random_network(name: str, image_size: int, seed: int = 0) -> Sam2Network:
    """A network of one of our configurations, every tensor of it random."""
    network = Sam2Network(replace(CONFIGS[name], image_size=image_size)).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for key, value in sorted(network.state_dict().items()):
        noise = torch.randn(value.shape, generator=generator)
        if key.endswith("gamma") or (value.ndim == 1 and key.endswith("weight")):
            value.copy_(1 + 0.1 * noise)
        elif value.ndim == 1:
            value.copy_(0.1 * noise)
        elif "gaussian" in key:
            value.copy_(noise)
        elif any(part in key for part in _EMBEDDINGS) and "proj" not in key:
            value.copy_(0.5 * noise)
        else:
            peaked = any(part in key for part in ("q_proj", "k_proj", "qkv"))
            # The deviation of a linear layer's weights as torch initialises them.
            value.copy_((_ATTENTION_GAIN if peaked else 1.0) * noise / (3 * value[0].numel()) ** 0.5)
    return network


def scaled_network(name: str, image: NDArray[np.uint8], image_size: int, seed: int = 0) -> Sam2Network:
    """A random network whose mask logits deviate by 5, memories and pointers by 1."""
    network = random_network(name, image_size, seed)
    for layer in network.memory_attention.layers:
        _rescale(layer.cross_attn_image.out_proj, _MEMORY_GAIN)
    if network.config.generation == "2.1":
        _rescale(network.obj_ptr_tpos_proj, _TIME_GAIN)
    with torch.inference_mode():
        features = network.encode_image(preprocess(image, image_size)[None])
        clicks = torch.tensor([[[0.3, 0.4]], [[0.7, 0.5]], [[0.5, 0.8]]]) * image_size
        decoded = network.decode_masks(
            network.without_memory(features.embedding),
            features.skip4,
            features.skip8,
            network.encode_prompts(clicks, torch.ones(3, 1, dtype=torch.int64)),
        )
        for index, mlp in enumerate(network.sam_mask_decoder.output_hypernetworks_mlps):
            _rescale(mlp.layers[-1], 5 / float(decoded.logits[:, index].std()))
        _rescale(network.obj_ptr_proj.layers[-1], 1 / float(decoded.pointers.std()))
        logits = decoded.logits[:, :1] * 5 / decoded.logits[:, :1].std()
        memory = network.encode_memory(features.embedding, logits, decoded.score)
        _rescale(network.memory_encoder.out_proj, 1 / float(memory.std()))
    return network


def tracking_network(
    name: str, frames: Sequence[NDArray[np.uint8]], image_size: int, scores: Scores, seed: int = 0
) -> Sam2Network:
    """A scaled network whose object scores on the scenario's tracked frames spread as asked."""
    network = scaled_network(name, frames[0], image_size, seed)
    prompted = {(given.frame, given.object_id) for given in PROMPTS}
    steps = track(network, frames)
    found = torch.tensor([step.score for key, step in steps.items() if key not in prompted])
    deviation, mean = (2.0, 0.0) if scores == "both signs" else (1.0, 6.0)
    head = network.sam_mask_decoder.pred_obj_score_head.layers[-1]
    _rescale(head, deviation / float(found.std()))
    head.bias.add_(mean - float(found.mean()) * deviation / float(found.std()))
    return network


def _rescale(layer: nn.Module, factor: float) -> None:
    """Multiplies the output of a linear layer or a convolution."""
    for parameter in layer.parameters():
        parameter.mul_(factor)
