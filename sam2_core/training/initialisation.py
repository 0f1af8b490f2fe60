"""First weights for training from scratch in hours instead of weeks."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from sam2_core.model import Sam2Network, load_network
from sam2_core.model.layers import MLP, Attention
from sam2_core.model.mask_decoder import TwoWayBlock
from sam2_core.model.memory_attention import MemoryCrossAttention

POINTING_GAIN = 2.0  # how strongly a click attends to its own place at the start
MASK_GAIN, EMPTY_BIAS = 0.3, -0.4  # of the mask weights: masks start out mostly empty, as masks mostly are
NECK_GAIN = 0.25  # keeps the embedding from drowning the position encodings that are added to it
TOKEN_DEVIATION = 0.3  # of learned tokens: small beside the encoding of a click's position
LOCALITY_GAIN = 3.25  # of the bias that lets a frame read the memory of the same place
LOCALITY_PAIRS = 6  # channel pairs per axis, those whose rotary positions turn fastest
CONTENT_GAIN = 0.5  # of queries and keys beside that bias
MEMORY_FEATURE_GAIN = 0.7  # of the image's share in a memory; the mask's is not scaled


@torch.no_grad()
def initialise(network: Sam2Network) -> None:
    """Give a new network weights that learn quickly; draws from torch's global generator.

    * Every linear and convolutional layer keeps the variance of its input (LeCun et al. 1998, eq. 16).
      PyTorch's own start shrinks it threefold per layer, and the mask logits hardly move at first.
    * Attention between prompts and image starts with equal query and key projections. Both ends carry the
      same Fourier encoding of positions, so a prompt attends to the place that it names from the first
      step on, instead of finding out over thousands of steps that it should.
    * Mask logits start out small and negative, so that no step is spent on learning that most of an image
      is background, at the price of everything else.
    * The decoder's first self-attention starts by handing every token the mean of all tokens. So the mask
      tokens know the prompt's position, too, and look at the same place.
    * Memory attention starts by reading what a memory holds of the same place (:func:`_read_same_place`).
    """
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.trunc_normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.ConvTranspose2d):
            nn.init.trunc_normal_(module.weight, std=module.weight.shape[0] ** -0.5)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=TOKEN_DEVIATION)
    for level in network.image_encoder.neck.convs:
        assert isinstance(level, nn.Sequential)
        _scale(level[0], NECK_GAIN)
    transformer = network.sam_mask_decoder.transformer
    for name, module in transformer.named_modules():
        if isinstance(module, Attention) and not name.endswith("self_attn"):
            _scale(module.q_proj, POINTING_GAIN)
            module.k_proj.weight.copy_(module.q_proj.weight)
    first = transformer.layers[0]
    assert isinstance(first, TwoWayBlock)
    nn.init.eye_(first.self_attn.v_proj.weight)
    nn.init.eye_(first.self_attn.out_proj.weight)
    _read_same_place(network)
    for mlp in network.sam_mask_decoder.output_hypernetworks_mlps:
        assert isinstance(mlp, MLP)
        _scale(mlp.layers[-1], MASK_GAIN)
        nn.init.constant_(mlp.layers[-1].bias, EMPTY_BIAS)  # type: ignore[arg-type]


@torch.no_grad()
def begin_with(network: Sam2Network, weights: Path, memory_anew: bool) -> None:
    """Load the weights of a checkpoint into a network.

    Args:
        network: takes the weights.
        weights: of the same configuration, in any layout that `load_network` reads.
        memory_anew: keep the network's own weights of memory attention and memory encoder.

    Raises:
        CheckpointError: the file is missing, damaged or of another configuration.
    """
    earlier = load_network(network.config.name, weights).state_dict()
    memory = ("memory_attention.", "memory_encoder.") if memory_anew else ()
    kept = {name: value for name, value in earlier.items() if not name.startswith(memory)}
    network.load_state_dict(network.state_dict() | kept)


def _read_same_place(network: Sam2Network) -> None:
    """Bias memory attention towards the place in a memory that the query stands at.

    Queries and keys get one constant vector in the channel pairs whose rotary positions turn fastest. Their
    product then falls off with the distance between two places alone, within about one token, so that the
    first mask that training sees comes out where it went in. Without this, memories are averaged over the
    whole image, and in thousands of steps tracking learned nothing from a mask that it did not know from the
    pointer.
    """
    for module in network.memory_attention.modules():
        if isinstance(module, MemoryCrossAttention):
            bias = torch.zeros(2, module.q_proj.out_features // 2)
            bias[:, : 2 * LOCALITY_PAIRS] = LOCALITY_GAIN
            for projection in (module.q_proj, module.k_proj):
                _scale(projection, CONTENT_GAIN)
                projection.bias.copy_(bias.flatten())
    _scale(network.memory_encoder.pix_feat_proj, MEMORY_FEATURE_GAIN)


def _scale(module: nn.Module, gain: float) -> None:
    """Multiply the weights of a layer, not its bias."""
    assert isinstance(module, (nn.Linear, nn.Conv2d))
    module.weight.mul_(gain)
