"""Whether programs compute what the float32 network does, on the device at hand.

In reduced precision numbers differ; what may not differ is what a user sees. Every stage is compared on what
it gets while the reference clip is tracked; then the tracker runs on the clip, and its masks and the signs of
its object scores are compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..model import Sam2Network
from .base import Backend
from .memory_reading import read_wide
from .programs import Bucket, Program, Signature, signature
from .staged import StagedBackend
from .stages import AttendMemory, stage_module

MIN_IOU = 0.99
"""Of every object's mask on every frame, against float32."""
MAX_ERROR = 0.05
"""Of an object's part of a stage's output, relative to its magnitude. bfloat16 makes 0.011 of the bundled
model's embedding and less elsewhere; a shift by one pixel makes much more."""


@dataclass(frozen=True)
class Comparison:
    """How what was computed agrees with the reference."""

    figure: float
    """Of a stage: the largest relative error. Of tracking: the least IoU of a mask."""
    problem: str = ""
    """What is wrong; empty: nothing."""


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """What was found of N objects on T frames."""

    masks: NDArray[np.bool_]
    """bool `[T, N, H, W]`; empty before an object's first prompt."""
    scores: NDArray[np.float32]
    """float32 `[T, N]`, object score logits; 0 before an object's first prompt."""

    def repeated(self, count: int) -> Rehearsal:
        """What must be found of `count` objects, where the same ones return in turn."""
        turn = np.arange(count) % self.masks.shape[1]
        return Rehearsal(self.masks[:, turn], self.scores[:, turn])


class Rehearse(Protocol):
    """Tracks the reference clip; `sam2_core.tracking.rehearsal.rehearse` does."""

    def __call__(self, backend: Backend, count: int = ...) -> Rehearsal:
        """Tracks so many objects, the same ones in turn where they are more than the clip's."""
        ...


class SelfCheck:
    """Compares programs and backends with the network in float32 on the same device.

    Args:
        network: in float32; on the device of what is compared.
        buckets: of the programs that are compared.
        rehearse: tracks the reference clip.

    Raises:
        ValueError: the network is not in float32.
    """

    def __init__(self, network: Sam2Network, buckets: Collection[Bucket], rehearse: Rehearse) -> None:
        if network.precision != "float32":
            raise ValueError(f"the reference is in {network.precision}; allowed: float32")
        self._network = network
        self._buckets = buckets
        self._rehearse = rehearse

    @torch.inference_mode()
    def stage(self, bucket: Bucket, program: Program) -> Comparison:
        """Compares a program on what its stage gets while the clip is tracked."""
        reference = TorchProgram(self._network, bucket)
        worst = Comparison(0.0)
        for inputs in self._cases(bucket):
            comparison = compare_outputs(program(inputs), reference(inputs))
            if comparison.problem:
                return comparison
            worst = max(worst, comparison, key=lambda one: one.figure)
        return worst

    def tracker(self, backend: Backend, counts: Collection[int]) -> Comparison:
        """Compares what is tracked on the clip, with so many objects at once."""
        worst = Comparison(1.0)
        for count in tqdm(sorted(counts), desc="checking the tracker", unit="run", leave=False):
            found = self._rehearse(backend, count)
            comparison = compare_rehearsals(found, self._reference.repeated(count))
            if comparison.problem:
                return comparison
            worst = min(worst, comparison, key=lambda one: one.figure)
        return worst

    @cached_property
    def _reference(self) -> Rehearsal:
        return self._rehearse(self._network)

    @cached_property
    def _recorded(self) -> dict[str, dict[str, Tensor]]:
        """By stage, the inputs of its last call on the clip."""
        recorders: dict[Bucket, _Recorder] = {}
        # Several objects at once tell more than one; long histories more than short ones.
        order = sorted(self._buckets, key=lambda one: (-min(one.objects, 4), -one.maps, -one.pointers))
        for bucket in order:
            if bucket.stage not in {one.stage for one in recorders}:
                recorders[bucket] = _Recorder(TorchProgram(self._network, bucket))
        self._rehearse(StagedBackend(self._network, recorders, "torch"))
        return {bucket.stage: recorder.inputs for bucket, recorder in recorders.items()}

    def _cases(self, bucket: Bucket) -> Iterator[dict[str, Tensor]]:
        expected = signature(bucket, self._network.config)
        recorded = self._recorded[bucket.stage]
        inputs = {name: _fitted(recorded[name], spec.shape) for name, spec in expected.inputs.items()}
        yield inputs
        if (
            bucket.stage == "encode_memory"
        ):  # the clip's objects are visible, and its last frame is not prompted
            yield {**inputs, "score": -inputs["score"], "binarize": ~inputs["binarize"]}


class TorchProgram:
    """A bucket in torch, in the network's own precision; implements `Program`."""

    def __init__(self, network: Sam2Network, bucket: Bucket) -> None:
        self._module = stage_module(network, bucket)
        if isinstance(self._module, AttendMemory):
            # For equal widths PyTorch has kernels that never hold all scores at once: those of eight objects
            # would take gigabytes.
            self._module.read_with(read_wide)
        self._signature: Signature = signature(bucket, network.config)

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        outputs = self._module(*(inputs[name] for name in self._signature.inputs))
        return dict(zip(self._signature.outputs, outputs, strict=True))


class _Recorder:
    """Runs a program and keeps what it got last."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.inputs: dict[str, Tensor] = {}

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.inputs = {name: value.clone() for name, value in inputs.items()}
        return self._program(inputs)


def compare_outputs(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Comparison:
    """Compares the outputs of a stage, object by object: finite, near, and scores of the same sign."""
    worst = 0.0
    for name, reference in expected.items():
        value = found[name]
        if not bool(value.isfinite().all()):
            return Comparison(float("inf"), f"{name} holds NaN or infinity")
        difference = (value - reference).flatten(1) if value.ndim > 1 else (value - reference)[:, None]
        scale = reference.reshape(difference.shape).norm(dim=1).clamp(min=1e-6)
        error = float((difference.norm(dim=1) / scale).max())
        if error > MAX_ERROR:
            return Comparison(error, f"{name} is off by {error:.1%}; allowed: {MAX_ERROR:.0%}")
        worst = max(worst, error)
        if name == "score" and bool(((value > 0) != (reference > 0)).any()):
            return Comparison(error, "an object score has the other sign")
    return Comparison(worst)


def compare_rehearsals(found: Rehearsal, expected: Rehearsal) -> Comparison:
    """Compares what was tracked: masks by IoU, object scores by sign."""
    if not np.isfinite(found.scores).all():
        return Comparison(0.0, "an object score is NaN or infinite")
    both = (found.masks & expected.masks).sum(axis=(2, 3))
    either = (found.masks | expected.masks).sum(axis=(2, 3))
    iou = np.where(either == 0, 1.0, both / np.maximum(either, 1))
    frame, place = np.unravel_index(iou.argmin(), iou.shape)
    least = float(iou[frame, place])
    of = f"with {iou.shape[1]} objects, object {place + 1} on frame {frame}"
    if least < MIN_IOU:
        return Comparison(least, f"{of}: mask IoU {least:.4f}; allowed: {MIN_IOU} or more")
    other = np.argwhere((found.scores > 0) != (expected.scores > 0))
    if len(other):
        frame, place = other[0]
        return Comparison(least, f"object {place + 1} on frame {frame}: its score has the other sign")
    return Comparison(least)


def _fitted(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The tensor at another shape: objects and slots return in turn, or are left out."""
    for dim, size in enumerate(shape):
        if value.shape[dim] != size:
            turn = torch.arange(size, device=value.device) % value.shape[dim]
            value = value.index_select(dim, turn)
    return value.contiguous()
