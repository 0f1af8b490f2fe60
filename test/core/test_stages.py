"""Stages of fixed shapes give what the network gives, whatever their empty slots hold."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from random_weights import scaled_network
from scenario import clip
from torch import Tensor

from sam2_core.backends.programs import PROMPT_TOKENS, Bucket, signature
from sam2_core.backends.stages import stage_module
from sam2_core.model import CONFIGS, MemoryTokens, Sam2Network

N, K, P = 3, 3, 4
SIZE = 128


@pytest.fixture(scope="module", params=["sam2_pico", "sam2.1_hiera_tiny"])
def network(request: pytest.FixtureRequest) -> Sam2Network:
    return scaled_network(request.param, clip(1)[0], SIZE)


def random_inputs(network: Sam2Network, bucket: Bucket) -> dict[str, Tensor]:
    """Inputs of the signature, every slot valid."""
    generator = torch.Generator().manual_seed(1)
    inputs = {}
    for name, spec in signature(bucket, network.config).inputs.items():
        if spec.dtype == torch.bool:
            inputs[name] = torch.ones(spec.shape, dtype=torch.bool)
        elif spec.dtype == torch.int64:
            inputs[name] = torch.randint(0, network.config.num_memories, spec.shape, generator=generator)
        elif name == "offsets":
            inputs[name] = torch.randint(1, 16, spec.shape, generator=generator).float()
        else:
            inputs[name] = torch.randn(spec.shape, generator=generator)
    return inputs


@torch.inference_mode()
def run(network: Sam2Network, bucket: Bucket, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The outputs, after a check that they are those of the signature."""
    expected = signature(bucket, network.config)
    outputs = dict(zip(expected.outputs, stage_module(network, bucket)(*inputs.values()), strict=True))
    for name, spec in expected.outputs.items():
        assert (tuple(outputs[name].shape), outputs[name].dtype) == (spec.shape, spec.dtype), name
    return outputs


def agree(outputs: dict[str, Tensor], *expected: Tensor) -> bool:
    return all(
        torch.allclose(a, b, rtol=1e-4, atol=2e-4) for a, b in zip(outputs.values(), expected, strict=True)
    )


@torch.inference_mode()
def test_an_image_is_encoded_as_by_the_network(network: Sam2Network) -> None:
    bucket = Bucket("encode_image")
    inputs = random_inputs(network, bucket)
    expected = network.encode_image(inputs["pixels"])
    outputs = run(network, bucket, inputs)
    assert agree(outputs, expected.embedding, expected.skip4, expected.skip8)


def memory_tokens(inputs: dict[str, Tensor]) -> MemoryTokens:
    return MemoryTokens(**{name: value for name, value in inputs.items() if name != "embedding"})


@torch.inference_mode()
def test_memory_is_attended_to_as_by_the_network(network: Sam2Network) -> None:
    bucket = Bucket("attend_memory", N, K, P)
    inputs = random_inputs(network, bucket)
    inputs["map_valid"][1, 1:] = False
    inputs["pointer_valid"][2, 2:] = False
    expected = network.attend_memory(inputs["embedding"], memory_tokens(inputs))
    assert agree(run(network, bucket, inputs), expected)


@torch.inference_mode()
def test_an_empty_slot_changes_nothing(network: Sam2Network) -> None:
    bucket = Bucket("attend_memory", N, K, P)
    inputs = random_inputs(network, bucket)
    inputs["map_valid"][:, 2] = inputs["pointer_valid"][:, 1] = False
    before = run(network, bucket, inputs)
    inputs["maps"][:, 2] = inputs["pointers"][:, 1] = math.nan
    inputs["rows"][:, 2] = 0
    inputs["offsets"][:, 1] = 5.0
    after = run(network, bucket, inputs)
    assert all(after[name].equal(value) for name, value in before.items())
    # And it is as if it were not there.
    smaller = {
        name: value[:, :2] if "map" in name or name == "rows" else value for name, value in inputs.items()
    }
    kept = [0, 2, 3]
    smaller |= {name: inputs[name][:, kept] for name in ("pointers", "offsets", "pointer_valid")}
    less = run(network, Bucket("attend_memory", N, 2, 3), smaller)
    assert agree(before, *less.values())


@torch.inference_mode()
def test_an_object_without_memory_spoils_no_other(network: Sam2Network) -> None:
    bucket = Bucket("attend_memory", N, K, P)
    inputs = random_inputs(network, bucket)
    inputs["map_valid"][1] = inputs["pointer_valid"][1] = False
    (outputs,) = run(network, bucket, inputs).values()
    assert outputs.isfinite().all()
    valid = random_inputs(network, bucket)
    assert torch.allclose(outputs[[0, 2]], run(network, bucket, valid)["conditioned"][[0, 2]], atol=1e-4)


@torch.inference_mode()
def test_tracked_objects_are_decoded_as_by_the_network(network: Sam2Network) -> None:
    bucket = Bucket("decode_tracked", N)
    inputs = random_inputs(network, bucket)
    expected = network.decode_masks(*inputs.values(), network.encode_prompts(None, None))
    assert agree(
        run(network, bucket, inputs), expected.logits, expected.iou, expected.pointers, expected.score
    )


@torch.inference_mode()
@pytest.mark.parametrize("points", [0, 1, 5, PROMPT_TOKENS - 1])
def test_prompts_of_any_length_are_decoded_as_by_the_network(network: Sam2Network, points: int) -> None:
    bucket = Bucket("decode_prompted", N)
    inputs = random_inputs(network, bucket)
    prompts = network.encode_prompts(
        SIZE * torch.rand(N, points, 2), torch.ones(N, points, dtype=torch.int64), torch.randn(N, 1, 32, 32)
    )
    tokens = points + 1
    inputs["sparse"][:, :tokens] = prompts.sparse
    inputs["sparse"][:, tokens:] = math.nan
    inputs["token_valid"][:, tokens:] = False
    inputs["dense"] = prompts.dense
    expected = network.decode_masks(inputs["embedding"], inputs["skip4"], inputs["skip8"], prompts)
    assert agree(
        run(network, bucket, inputs), expected.logits, expected.iou, expected.pointers, expected.score
    )


@torch.inference_mode()
def test_memories_are_encoded_as_by_the_network(network: Sam2Network) -> None:
    bucket = Bucket("encode_memory", N)
    inputs = random_inputs(network, bucket)
    inputs["score"] = torch.tensor([2.0, -1.0, 3.0])
    inputs["binarize"] = torch.tensor([False, False, True])
    given = inputs["embedding"], inputs["logits"], inputs["score"]
    soft, sharp = network.encode_memory(*given), network.encode_memory(*given, binarize=True)
    assert agree(run(network, bucket, inputs), torch.cat([soft[:2], sharp[2:]]))
    assert not agree(run(network, bucket, inputs), soft)


@torch.inference_mode()
def test_sam_2_0_has_stages_too() -> None:
    network = Sam2Network(replace(CONFIGS["sam2_hiera_tiny"], image_size=SIZE)).eval()
    bucket = Bucket("attend_memory", N, K, P)
    inputs = random_inputs(network, bucket)
    assert agree(
        run(network, bucket, inputs), network.attend_memory(inputs["embedding"], memory_tokens(inputs))
    )


def test_the_network_itself_stays_as_it_is(network: Sam2Network) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for stage in ("encode_image", "attend_memory", "decode_tracked", "encode_memory"):
        stage_module(network, Bucket(stage, N, K, P), torch.bfloat16)
    after = network.state_dict()
    assert all(
        after[name].dtype == value.dtype and after[name].equal(value) for name, value in before.items()
    )
