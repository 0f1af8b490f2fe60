"""A backend of programs tracks as the network does, whatever the sizes of its buckets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from random_weights import tracking_network
from scenario import TOLERANCES, agree, clip, compare, track
from torch import Tensor

from sam2_core.backends.programs import PROMPT_TOKENS, Bucket, long_history, signature
from sam2_core.backends.staged import StagedBackend
from sam2_core.backends.stages import stage_module
from sam2_core.model import Sam2Network
from sam2_core.tracking import ImageSegmenter, PointPrompt, StreamingTracker, TrackerOptions

FRAMES = clip(9)


class ModuleProgram:
    """A stage in torch as a program: its outputs are buffers that the next call overwrites."""

    def __init__(self, network: Sam2Network, bucket: Bucket) -> None:
        self.stage = stage_module(network, bucket)
        self.signature = signature(bucket, network.config)
        self.outputs = {name: torch.zeros(spec.shape) for name, spec in self.signature.outputs.items()}
        self.calls = 0

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.calls += 1
        for name, spec in self.signature.inputs.items():
            assert (tuple(inputs[name].shape), inputs[name].dtype) == (spec.shape, spec.dtype), name
        found = self.stage(*(inputs[name] for name in self.signature.inputs))
        for buffer, output in zip(self.outputs.values(), found, strict=True):
            buffer.copy_(output)
        return self.outputs


@pytest.fixture(scope="module")
def network() -> Sam2Network:
    return tracking_network("sam2_pico", FRAMES, 128, "both signs")


def programs(network: Sam2Network, buckets: Sequence[Bucket]) -> dict[Bucket, ModuleProgram]:
    return {bucket: ModuleProgram(network, bucket) for bucket in buckets}


def full(*objects: int) -> list[Bucket]:
    """All stages, for so many objects, with a full history."""
    each = [(stage, n) for n in objects for stage in ("decode_tracked", "decode_prompted", "encode_memory")]
    attention = [Bucket("attend_memory", n, 7, 16) for n in objects]
    return [Bucket("encode_image"), *attention, *(Bucket(stage, n) for stage, n in each)]


@pytest.mark.parametrize(
    "buckets",
    [
        pytest.param(full(4), id="more room than objects"),
        pytest.param(full(2), id="two objects at once"),
        pytest.param([*full(1), Bucket("attend_memory", 2, 1, 1)], id="one at once, and a small history"),
        pytest.param([Bucket("attend_memory", 4, 3, 16)], id="short histories alone"),
        pytest.param([Bucket("decode_tracked", 4)], id="the decoder alone"),
    ],
)
def test_tracking_gives_the_same_numbers(network: Sam2Network, buckets: list[Bucket]) -> None:
    made = programs(network, buckets)
    staged = StagedBackend(network, made, "modules")
    assert agree(errors := compare(track(staged, FRAMES), track(network, FRAMES))), errors
    assert all(program.calls for program in made.values())


def test_the_smallest_bucket_is_taken(network: Sam2Network) -> None:
    made = programs(network, [Bucket("attend_memory", n, k, 16) for n in (1, 2, 8) for k in (1, 7)])
    track(StagedBackend(network, made, "modules"), FRAMES[:3])
    assert {bucket for bucket, program in made.items() if program.calls} == {
        Bucket("attend_memory", 2, 1, 16),
        Bucket("attend_memory", 2, 7, 16),
    }


def test_a_longer_history_of_one_object_is_read_apart_from_the_others(network: Sam2Network) -> None:
    objects, longer = 4, long_history(network.config)
    together = Bucket("attend_memory", objects, network.config.num_memories, network.config.max_pointers)
    made = programs(network, [together, longer])
    streams = [
        StreamingTracker(backend, TrackerOptions(lasting_corrections=True))
        for backend in (StagedBackend(network, made, "modules"), network)
    ]
    for index, image in enumerate(FRAMES):
        for program in made.values():
            program.calls = 0
        staged, expected = (stream.track(image, index).objects for stream in streams)
        for one, other in zip(staged, expected, strict=True):
            assert np.abs(one.logits - other.logits).max() < TOLERANCES.logits
        for stream in streams:
            if index == 0:
                for x in range(60, 60 + 50 * objects, 50):
                    stream.add_prompt(PointPrompt([[x, 120]], [1]))
            if index == 2:
                stream.add_prompt(PointPrompt([[100, 130]], [1]), object_id=2)
    assert (made[together].calls, made[longer].calls) == (1, 1)


def test_images_are_segmented_the_same(network: Sam2Network) -> None:
    staged = StagedBackend(network, programs(network, full(1, 2)), "modules")
    points = np.random.default_rng(0).uniform(0, 240, (PROMPT_TOKENS + 4, 2))
    # One point, the most that a program takes, and more.
    prompts = [
        PointPrompt(points[:count], [1] * count) for count in (1, 1, 1, PROMPT_TOKENS - 1, len(points))
    ]
    answers = []
    for backend in (network, staged):
        segmenter = ImageSegmenter(backend)
        images = segmenter.encode(FRAMES[:2])
        answers.append(segmenter.segment(images, [prompts, prompts[:2]], multimask=True))
    for ours, expected in zip(*answers, strict=True):
        for one, other in zip(ours, expected, strict=True):
            assert np.abs(one.logits - other.logits).max() < 1e-3
            assert np.abs(one.iou - other.iou).max() < 1e-4


@torch.inference_mode()
def test_what_came_out_is_kept(network: Sam2Network) -> None:
    staged = StagedBackend(network, programs(network, full(1)), "modules")
    first = staged.encode_image(torch.zeros(1, 3, 128, 128))
    before = first.embedding.clone()
    staged.encode_image(torch.ones(2, 3, 128, 128))
    assert first.embedding.equal(before)


def test_it_says_what_runs_where(network: Sam2Network) -> None:
    made = programs(
        network, [Bucket("encode_image"), Bucket("decode_tracked", 1), Bucket("decode_tracked", 4)]
    )
    assert StagedBackend(network, made, "modules").describe() == {
        "encode_image": "modules, 1 at once",
        "attend_memory": "torch",
        "decode_tracked": "modules, 1/4 at once",
        "decode_prompted": "torch",
        "encode_memory": "torch",
    }
