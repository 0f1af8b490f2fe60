"""The network's stages as building blocks: batches, masked slots, any configuration, gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from random_weights import random_network
from torch import Tensor

from sam2_core.model import CONFIGS, HieraConfig, MemoryTokens, Sam2Config, Sam2Network

SIZE = 128
CUSTOM = Sam2Config(
    name="custom",
    hiera=HieraConfig(16, 1, (1, 1, 2, 1), (2, 3), windows=(8, 4, 4, 4), position_grid=4),
    image_size=64,
    hidden_dim=64,
    memory_dim=16,
    memory_layers=1,
    memory_mlp_dim=32,
    decoder_heads=2,
    decoder_mlp_dim=32,
    iou_head_dim=16,
)


@pytest.fixture(scope="module")
def network() -> Sam2Network:
    return random_network("sam2_pico", SIZE)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def memory_tokens(config: Sam2Config, count: int, maps: int = 3, pointers: int = 5) -> MemoryTokens:
    side = config.embedding_size
    return MemoryTokens(
        maps=random(count, maps, config.memory_dim, side, side),
        rows=torch.arange(maps).expand(count, -1),
        pointers=random(count, pointers, config.hidden_dim, seed=1),
        offsets=1.0 + torch.arange(pointers).expand(count, -1),
    )


def through_all_stages(network: Sam2Network, pixels: Tensor) -> tuple[Tensor, ...]:
    """Two objects on one image, from pixels to memory."""
    config = network.config
    features = network.encode_image(pixels)
    conditioned = network.attend_memory(features.embedding, memory_tokens(config, 2))
    prompts = network.encode_prompts(
        torch.tensor([[[9.0, 9.0]], [[30.0, 40.0]]]),
        torch.tensor([[1], [0]]),
        random(2, 1, config.mask_size, config.mask_size),
    )
    decoded = network.decode_masks(conditioned, features.skip4, features.skip8, prompts)
    pointer = network.hide_pointer(decoded.pointers[:, 0], torch.tensor([1.0, -1.0]))
    memory = network.encode_memory(features.embedding, decoded.logits[:, :1], torch.tensor([1.0, -1.0]))
    return decoded.logits, decoded.iou, decoded.score, pointer, memory


@pytest.mark.parametrize("config", [CUSTOM, replace(CUSTOM, generation="2.0"), CONFIGS["sam2_pico"]])
def test_shapes_follow_from_the_configuration(config: Sam2Config) -> None:
    network = Sam2Network(config)
    size, side = config.image_size, config.embedding_size
    with torch.inference_mode():
        shapes = [tuple(x.shape) for x in through_all_stages(network, random(1, 3, size, size))]
    mask_side = 4 * side
    assert shapes == [
        (2, 4, mask_side, mask_side),
        (2, 4),
        (2,),
        (2, config.hidden_dim),
        (2, config.memory_dim, side, side),
    ]


def test_slots_that_are_not_valid_are_not_read(network: Sam2Network) -> None:
    tokens = memory_tokens(network.config, 2)
    embedding = random(1, network.config.hidden_dim, 8, 8)
    expected = network.attend_memory(embedding, tokens)
    rubbish = MemoryTokens(
        maps=torch.cat([tokens.maps, 1e3 * tokens.maps[:, :2]], dim=1),
        rows=torch.cat([tokens.rows, tokens.rows[:, :2]], dim=1),
        pointers=torch.cat([tokens.pointers, 1e3 * tokens.pointers[:, :1]], dim=1),
        offsets=torch.cat([tokens.offsets, 1e3 * tokens.offsets[:, :1]], dim=1),
        map_valid=torch.tensor([[True] * 3 + [False] * 2] * 2),
        pointer_valid=torch.tensor([[True] * 5 + [False]] * 2),
    )
    torch.testing.assert_close(network.attend_memory(embedding, rubbish), expected, rtol=0, atol=1e-5)


def test_memories_are_weighed_alike_with_and_without_gradients(network: Sam2Network) -> None:
    """Inference has its own way to attend in float32."""
    embedding = random(1, network.config.hidden_dim, 8, 8)
    whole = memory_tokens(network.config, 2)
    gaps = replace(
        whole,
        map_valid=torch.tensor([[True, True, True], [True, False, False]]),
        pointer_valid=torch.tensor([[True] * 5, [True] * 2 + [False] * 3]),
    )
    for tokens in (whole, gaps):
        expected = network.attend_memory(embedding, tokens)
        with torch.inference_mode():
            found = network.attend_memory(embedding, tokens)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_batch_of_images_is_encoded_like_each_alone(network: Sam2Network) -> None:
    pixels = random(3, 3, SIZE, SIZE)
    batch = network.encode_image(pixels)
    for index in range(3):
        alone, taken = network.encode_image(pixels[index : index + 1]), batch[index : index + 1]
        for name in ("embedding", "skip4", "skip8"):
            torch.testing.assert_close(getattr(taken, name), getattr(alone, name), rtol=0, atol=1e-4)


def test_objects_share_one_image_or_bring_their_own(network: Sam2Network) -> None:
    features = network.encode_image(random(1, 3, SIZE, SIZE))
    tokens = memory_tokens(network.config, 2)
    shared = network.attend_memory(features.embedding, tokens)
    own = network.attend_memory(features.embedding.expand(2, -1, -1, -1), tokens)
    torch.testing.assert_close(shared, own, rtol=0, atol=1e-5)
    logits, score = random(2, 1, SIZE // 4, SIZE // 4), torch.tensor([1.0, -1.0])
    torch.testing.assert_close(
        network.encode_memory(features.embedding, logits, score),
        network.encode_memory(features.embedding.expand(2, -1, -1, -1), logits, score),
        rtol=0,
        atol=1e-4,
    )


def test_padding_points_are_read_alike_wherever_they_lie(network: Sam2Network) -> None:
    labels = torch.tensor([[1, -1]])
    one = network.encode_prompts(torch.tensor([[[5.0, 6.0], [0.0, 0.0]]]), labels)
    other = network.encode_prompts(torch.tensor([[[5.0, 6.0], [99.0, 3.0]]]), labels)
    torch.testing.assert_close(one.sparse, other.sparse)


def test_what_is_not_visible_gets_the_no_object_pointer(network: Sam2Network) -> None:
    pointers = random(3, network.config.hidden_dim)
    hidden = network.hide_pointer(pointers, torch.tensor([2.0, 0.0, -2.0]))
    torch.testing.assert_close(hidden[0], pointers[0])
    torch.testing.assert_close(hidden[1:], network.no_obj_ptr.expand(2, -1))


def test_every_weight_that_is_read_gets_a_gradient() -> None:
    network = Sam2Network(CUSTOM)
    pixels = random(1, 3, CUSTOM.image_size, CUSTOM.image_size)
    features = network.encode_image(pixels)
    unprompted = network.decode_masks(
        network.without_memory(features.embedding),
        features.skip4,
        features.skip8,
        network.encode_prompts(None, None),
    )
    boxed = network.encode_prompts(torch.tensor([[[1.0, 2.0], [9.0, 9.0]]]), torch.tensor([[2, 3]]))
    by_mask = network.encode_mask_prompt(torch.ones(1, 1, CUSTOM.image_size, CUSTOM.image_size))
    tokens = replace(memory_tokens(CUSTOM, 2, maps=7), rows=torch.arange(7).expand(2, -1))
    outputs = [
        *through_all_stages(network, pixels),
        unprompted.logits,
        boxed.sparse,
        by_mask.dense,
        network.attend_memory(features.embedding, tokens),
    ]
    torch.stack([output.square().sum() for output in outputs]).sum().backward()
    without = {name for name, value in network.named_parameters() if value.grad is None}
    assert without == {"no_mem_pos_enc"}
