"""Captured stages and the ways to read the memory; here on the CPU, where all of it runs but the capture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from random_weights import tracking_network
from scenario import PROMPTS, agree, clip, compare, track
from torch import Tensor, nn
from torch.nn import functional as F

from sam2_core.backends import cuda_graphs
from sam2_core.backends.cuda_graphs import CudaGraphProgram, capture, torch_backend
from sam2_core.backends.memory_reading import READINGS, ReadMemory, fastest_reading, readable_blocks
from sam2_core.backends.programs import Bucket, Signature, TensorSpec, signature
from sam2_core.backends.staged import StagedBackend
from sam2_core.backends.stages import stage_module
from sam2_core.model import Sam2Network

FRAMES = clip(12)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> Sam2Network:
    return tracking_network("sam2_pico", FRAMES, 128, "both signs")


@pytest.fixture(scope="module")
def captured(network: Sam2Network) -> StagedBackend:
    return capture(network, objects=(1, 2))


def test_tracking_by_captured_stages_gives_the_networks_numbers(
    network: Sam2Network, captured: StagedBackend
) -> None:
    # Three objects in buckets of two and one; histories that grow from nothing.
    errors = compare(track(captured, FRAMES, PROMPTS), track(network, FRAMES, PROMPTS))
    assert agree(errors), errors


def test_what_runs_the_stages_is_told(captured: StagedBackend) -> None:
    told = captured.describe()
    assert all("CUDA graphs" in how for how in told.values())
    assert "1/2 at once" in told["attend_memory"]


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=["of torch", "of a library"],
)
def test_what_does_not_fit_into_memory_goes_in_smaller_parts(
    network: Sam2Network, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    def limited(module: nn.Module, expected: Signature, *more: Any) -> CudaGraphProgram:
        if expected.inputs.get("logits", TensorSpec((1,))).shape[0] > 1:
            raise error
        return CudaGraphProgram(module, expected, *more)

    monkeypatch.setattr(cuda_graphs, "CudaGraphProgram", limited)
    told: list[str] = []
    backend = capture(network, objects=(1, 2), report=told.append)
    assert told == [f"{Bucket('encode_memory', 2).name} is not captured into a CUDA graph: {error}"]
    assert "1 at once" in backend.describe()["encode_memory"]
    assert "1/2 at once" in backend.describe()["attend_memory"]
    frames = FRAMES[:3]
    errors = compare(track(backend, frames, PROMPTS[:2]), track(network, frames, PROMPTS[:2]))
    assert agree(errors), errors


def test_without_a_gpu_torch_runs_the_network_itself(network: Sam2Network) -> None:
    assert torch_backend(network) is network


def test_a_program_answers_in_the_same_buffers(network: Sam2Network) -> None:
    bucket = Bucket("decode_tracked", 2)
    expected = signature(bucket, network.config)
    program = CudaGraphProgram(stage_module(network, bucket), expected, CPU)
    generator = torch.Generator().manual_seed(0)
    answers = []
    for _ in range(2):
        inputs = {name: torch.randn(t.shape, generator=generator) for name, t in expected.inputs.items()}
        outputs = program(inputs)
        assert {name: tuple(t.shape) for name, t in outputs.items()} == {
            name: t.shape for name, t in expected.outputs.items()
        }
        answers.append(({name: t.data_ptr() for name, t in outputs.items()}, outputs["iou"].clone()))
        # What is given stays the caller's.
        inputs["embedding"].zero_()
    assert answers[0][0] == answers[1][0]
    assert not torch.equal(answers[0][1], answers[1][1])


@pytest.mark.slow
def test_a_compiled_program_gives_the_same(network: Sam2Network) -> None:
    bucket = Bucket("encode_memory", 2)
    expected = signature(bucket, network.config)
    generator = torch.Generator().manual_seed(0)
    inputs = {
        name: torch.randn(t.shape, generator=generator).to(t.dtype) for name, t in expected.inputs.items()
    }
    plain, compiled = (
        CudaGraphProgram(stage_module(network, bucket), expected, CPU, compiled=compiled)(inputs)
        for compiled in (False, True)
    )
    torch.testing.assert_close(compiled["memory"], plain["memory"], atol=1e-4, rtol=1e-4)


def memory_to_read(tokens: int = 300) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys, memory, mask, projection of three objects; the second reads part, the third nothing."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    mask = torch.zeros(3, 1, 1, tokens)
    mask[1, ..., 100:290] = -3e4
    mask[2] = -3e4
    return noise(3, 1, 200, 64), noise(3, 1, tokens, 64), noise(3, tokens, 16), mask, noise(64, 16) / 4


def by_definition(q: Tensor, k: Tensor, memory: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """The attention as the paper writes it, in double precision."""
    scores = (q[:, 0] @ k[:, 0].mT).double() / q.shape[-1] ** 0.5
    weights = scores.masked_fill(mask[:, 0] < 0, -torch.inf).softmax(dim=-1)
    return weights @ F.linear(memory, weight).double()


@pytest.mark.parametrize("name", READINGS)
def test_every_reading_is_the_same_attention(name: str) -> None:
    read: ReadMemory = READINGS[name]
    q, k, memory, mask, weight = memory_to_read()
    found = read(q, k, memory, mask, lambda values: F.linear(values, weight))
    expected = by_definition(q, k, memory, mask, weight)
    np.testing.assert_allclose(found[:2], expected[:2], atol=1e-5)
    assert found[2].isfinite().all()
    # What may not be read has no part in it, whatever it is.
    memory[1, 100:290] = 1e6
    k[1, :, 100:290] *= 30
    again = read(q, k, memory, mask, lambda values: F.linear(values, weight))
    torch.testing.assert_close(again[:2], found[:2])


def test_blocks_of_which_nothing_may_be_read_are_left_out() -> None:
    readable = torch.ones(3, 600, dtype=torch.bool)
    readable[1, 128:400] = False
    readable[2] = False
    blocks = readable_blocks(readable, 256)
    assert blocks.kv_num_blocks[:, 0, 0].tolist() == [1, 2, 0]  # in part: the last, and that from 384 on
    assert blocks.full_kv_num_blocks is not None
    assert blocks.full_kv_indices is not None
    assert blocks.full_kv_num_blocks[:, 0, 0].tolist() == [4, 1, 0]
    assert blocks.kv_indices[1, 0, 1, :2].tolist() == [3, 4]
    assert blocks.full_kv_indices[0, 0, 1, :4].tolist() == [0, 1, 2, 3]


def test_the_fastest_reading_is_one_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(q: Tensor, k: Tensor, memory: Tensor, mask: Tensor, project: object) -> Tensor:
        return torch.zeros(len(q), q.shape[2], q.shape[3])

    def broken(q: Tensor, k: Tensor, memory: Tensor, mask: Tensor, project: object) -> Tensor:
        raise RuntimeError("no kernel for this width")

    monkeypatch.setitem(READINGS, "wrong", wrong)
    monkeypatch.setitem(READINGS, "broken", broken)
    choice = fastest_reading(2, 64, 150, (32, 8), torch.float32, CPU)
    assert choice.name in ("wide", "narrow", "flex")
    assert all(choice.found[name].endswith("ms") for name in ("wide", "narrow", "flex"))
    assert "differs" in choice.found["wrong"]
    assert choice.found["broken"] == "fails: no kernel for this width"


def test_attention_reads_as_it_is_told_to(network: Sam2Network) -> None:
    bucket = Bucket("attend_memory", 2, 2, 3)
    generator = torch.Generator().manual_seed(0)
    inputs = {}
    for name, spec in signature(bucket, network.config).inputs.items():
        inputs[name] = torch.randn(spec.shape, generator=generator)
        if spec.dtype != torch.float32:
            inputs[name] = torch.ones(spec.shape, dtype=spec.dtype)
    inputs["map_valid"][1, 1] = False
    results = []
    for reading in READINGS.values():
        module = stage_module(network, bucket)
        module.read_with(reading)
        with torch.inference_mode():
            results.append(module(*inputs.values())[0])
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], atol=1e-3, rtol=1e-4)
