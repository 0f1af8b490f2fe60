"""What a frame costs the host, beside a GPU: a few tables and the image go up, one answer comes down.

The tracker runs on PyTorch's device "meta", which knows shapes but no values. Like a GPU's, its memory is not
the host's; every copy to it is seen here, and whoever asks for a value, for which a GPU must be waited for,
gets an error.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scenario import clip
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sam2_core.backends.programs import stage_buckets
from sam2_core.backends.self_check import TorchProgram
from sam2_core.backends.staged import StagedBackend
from sam2_core.model import CONFIGS, DecodedMasks, PromptTokens, Sam2Network
from sam2_core.tracking import PointPrompt, StreamingTracker, TrackerOptions, answers
from sam2_core.transfer import upload

FRAMES = clip(4)


class Crossings(TorchDispatchMode):
    """Counts the copies to the device while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.up = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        leaves = torch.utils._pytree.tree_leaves((args, kwargs))
        self.up += (
            isinstance(result, Tensor)
            and result.is_meta
            and any(isinstance(leaf, Tensor) and leaf.is_cpu for leaf in leaves)
        )
        return result


def test_an_image_that_must_not_be_written_is_taken_without_a_warning() -> None:
    image = FRAMES[0].copy()
    image.flags.writeable = False
    torch.set_warn_always(True)  # not for the first one of a process alone
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.array_equal(upload(image, torch.device("cpu")).numpy(), image)
    finally:
        torch.set_warn_always(False)


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry per download, which cannot be had from this device: how many objects it was of."""
    counts: list[int] = []

    def download(tensors: Sequence[Tensor]) -> list[NDArray[Any]]:
        counts.append(len(tensors[0]))
        return [np.zeros(t.shape, torch.empty(0, dtype=t.dtype).numpy().dtype) for t in tensors]

    monkeypatch.setattr(answers, "download", download)
    return counts


def backend(kind: type[StagedBackend] = StagedBackend, left: str = "") -> StagedBackend:
    """A backend that leaves one stage to torch, if any."""
    network = Sam2Network(replace(CONFIGS["sam2_pico"], image_size=128)).eval().requires_grad_(False)
    network = network.to("meta")
    buckets = [b for b in stage_buckets(network.config, [1, 4], "full") if b.stage != left]
    return kind(network, {bucket: TorchProgram(network, bucket) for bucket in buckets}, "stages")


def prompted(executor: StagedBackend, objects: int) -> StreamingTracker:
    tracker = StreamingTracker(executor, TrackerOptions(max_objects=objects))
    tracker.track(FRAMES[0], 0)
    for index in range(objects):
        tracker.add_prompt(PointPrompt([[60 + 40 * index, 120]], [1]))
    return tracker


@pytest.mark.parametrize("left", ["", "attend_memory"])  # all in programs; one stage in torch
@pytest.mark.parametrize("objects", [1, 5])  # a bucket of its own; two buckets, one of them padded
def test_a_frame_goes_up_in_four_copies_and_comes_down_in_one(
    answered: list[int], objects: int, left: str
) -> None:
    tracker = prompted(backend(left=left), objects)
    for index, image in enumerate(FRAMES[1:], start=1):
        answered.clear()
        with Crossings() as crossings:
            tracker.track(image, index)
        # The image, what is read, where it is stored, whose answer is wanted.
        assert crossings.up == 4
        assert answered == [objects]


def test_whoever_waits_for_a_value_is_found_out(answered: list[int]) -> None:
    class Curious(StagedBackend):
        def decode_masks(
            self, embedding: Tensor, skip4: Tensor, skip8: Tensor, prompts: PromptTokens
        ) -> DecodedMasks:
            decoded = super().decode_masks(embedding, skip4, skip8, prompts)
            assert float(decoded.score.max()) > -1e9
            return decoded

    with pytest.raises((RuntimeError, NotImplementedError)):
        prompted(backend(Curious), 1)
