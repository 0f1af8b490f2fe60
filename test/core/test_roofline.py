"""The cost of a frame, counted from the configuration, is what PyTorch counts while the network runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from random_weights import random_network
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sam2_core.model import ImageFeatures, MemoryTokens, Sam2Network

sys.path.append(str(Path(__file__).parents[2] / "benchmark"))

from roofline import attention_flop, decoder_flop, encoder_flop, memory_encoder_flop, tracking_costs

OBJECTS, MAPS, POINTERS = 2, 3, 5
SLACK = 0.02
"""A share: whether the objects' queries are projected once or each by itself is the network's to choose."""


@pytest.fixture(
    scope="module", params=[("sam2_pico", 256), ("sam2.1_hiera_tiny", 256), ("sam2.1_hiera_base_plus", 256)]
)
def network(request: pytest.FixtureRequest) -> Sam2Network:
    return random_network(*request.param)


def counted(run: Callable[[], object]) -> int:
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def test_every_stage_costs_what_is_counted(network: Sam2Network) -> None:
    config = network.config
    pixels = torch.randn(1, 3, config.image_size, config.image_size)
    side, dim = config.embedding_size, config.hidden_dim
    with torch.inference_mode():
        features: ImageFeatures = network.encode_image(pixels)
    memory = MemoryTokens(
        torch.randn(OBJECTS, MAPS, config.memory_dim, side, side),
        torch.zeros(OBJECTS, MAPS, dtype=torch.int64),
        torch.randn(OBJECTS, POINTERS, dim),
        torch.ones(OBJECTS, POINTERS),
    )
    conditioned = torch.randn(OBJECTS, dim, side, side)
    logits = torch.randn(OBJECTS, 1, config.mask_size, config.mask_size)
    no_prompt = network.encode_prompts(None, None)
    found = {
        "encode_image": (encoder_flop(config), lambda: network.encode_image(pixels)),
        "attend_memory": (
            attention_flop(config, OBJECTS, MAPS, POINTERS),
            lambda: network.attend_memory(features.embedding, memory),
        ),
        "decode_masks": (
            OBJECTS * decoder_flop(config),
            lambda: network.decode_masks(conditioned, features.skip4, features.skip8, no_prompt),
        ),
        "encode_memory": (
            memory_encoder_flop(config, OBJECTS),
            lambda: network.encode_memory(features.embedding, logits, torch.ones(OBJECTS)),
        ),
    }
    for stage, (expected, run) in found.items():
        assert counted(run) == pytest.approx(expected, rel=SLACK), stage


def test_bytes_are_those_of_weights_and_what_stages_pass_on(network: Sam2Network) -> None:
    one, two = tracking_costs(network, 1), tracking_costs(network, 2)
    weights = sum(weight.nbytes for weight in network.image_encoder.parameters())
    assert one["encode_image"] == two["encode_image"]
    assert one["encode_image"].bytes > weights
    for stage in ("attend_memory", "decode_masks", "encode_memory"):
        assert one[stage].bytes < two[stage].bytes < 2 * one[stage].bytes
        assert one[stage].flop < two[stage].flop <= 2 * one[stage].flop
