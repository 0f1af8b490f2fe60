"""First weights for training from scratch in hours instead of weeks."""

from __future__ import annotations

import torch
from torch import nn

from sam2_core.model import Sam2Network
from sam2_core.model.layers import MLP, Attention
from sam2_core.model.mask_decoder import TwoWayBlock

POINTING_GAIN = 2.0  # how strongly a click attends to its own place at the start
MASK_GAIN, EMPTY_BIAS = 0.3, -0.4  # of the mask weights: masks start out mostly empty, as masks mostly are
NECK_GAIN = 0.25  # keeps the embedding from drowning the position encodings that are added to it
TOKEN_DEVIATION = 0.3  # of learned tokens: small beside the encoding of a click's position


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
    for mlp in network.sam_mask_decoder.output_hypernetworks_mlps:
        assert isinstance(mlp, MLP)
        _scale(mlp.layers[-1], MASK_GAIN)
        nn.init.constant_(mlp.layers[-1].bias, EMPTY_BIAS)  # type: ignore[arg-type]


def _scale(module: nn.Module, gain: float) -> None:
    """Multiply the weights of a layer, not its bias."""
    assert isinstance(module, (nn.Linear, nn.Conv2d))
    module.weight.mul_(gain)
