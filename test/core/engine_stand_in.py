"""A stand-in for TensorRT: it executes the exported graph in ONNX Runtime, and wrongly if it is asked to."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
import onnxruntime
import torch
from torch import Tensor

from sam2_core.backends.build_progress import BuildCancelledError, BuildProgress
from sam2_core.backends.engines import EngineDevice, EngineError
from sam2_core.backends.programs import Program, Signature, stage_buckets
from sam2_core.model import CONFIGS

Outputs = dict[str, Tensor]
Fault = Callable[[Program], Program]
"""Makes a program that is wrong out of a right one."""

BUCKETS = stage_buckets(CONFIGS["sam2_pico"], [2], "full")
"""Enough for any number of objects: they are padded, or divided."""
DEVICE = EngineDevice("10.3.0", "stand-in", "8.7")
_STEPS = 4


class StandInBuilder:
    """Implements `EngineBuilder`. A plan is a graph with its weights, after a line that says what for.

    Args:
        device: what it pretends to be.
        faults: by name of the graph's file (without .onnx) and precision.
    """

    workspace = 0

    def __init__(
        self, device: EngineDevice = DEVICE, faults: Mapping[tuple[str, str], Fault] | None = None
    ) -> None:
        self.device = device
        self.faults = faults or {}
        self.built: list[tuple[str, str]] = []
        """What it was asked to build, as in `faults`."""
        self.at_step: Callable[[], None] = lambda: None
        """Called within every step of a building."""

    def device_memory(self) -> tuple[int, int]:
        return 3 * 2**30, 4 * 2**30

    def build(self, graph: Path, precision: str, progress: BuildProgress) -> bytes:
        self.built.append((graph.stem, precision))
        if not self._report_from_threads(progress):
            raise BuildCancelledError("the building was cancelled")
        content = onnx.load(graph).SerializeToString()
        header = {
            "device": str(self.device),
            "name": graph.stem,
            "precision": precision,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        return json.dumps(header).encode() + b"\n" + content

    def _report_from_threads(self, progress: BuildProgress) -> bool:
        """Nested phases, the inner ones from threads of their own, as TensorRT has them."""
        going = True
        progress.phase_start("building", None, _STEPS)
        for step in range(_STEPS):

            def inner(name: str = f"timing {step}") -> None:
                progress.phase_start(name, "building", 3)
                for turn in range(3):
                    progress.step_complete(name, turn)
                progress.phase_finish(name)

            thread = threading.Thread(target=inner)
            thread.start()
            thread.join()
            self.at_step()
            going = progress.step_complete("building", step)
            if not going:
                break
        progress.phase_finish("building")
        return going

    def load(self, plan: bytes, signature: Signature) -> Program:
        header, _, content = plan.partition(b"\n")
        about = json.loads(header)
        if about["device"] != str(self.device):
            raise EngineError(f"it was built for {about['device']}")
        program = _OnnxRuntimeProgram(content, signature)
        fault = self.faults.get((about["name"], about["precision"]))
        return fault(program) if fault else program


class _OnnxRuntimeProgram:
    def __init__(self, content: bytes, signature: Signature) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._signature = signature

    def __call__(self, inputs: Mapping[str, Tensor]) -> Outputs:
        given = {name: inputs[name].numpy() for name in self._signature.inputs}
        names = list(self._signature.outputs)
        return dict(zip(names, map(torch.from_numpy, self._session.run(names, given)), strict=True))


def _changed(change: Callable[[Tensor], Tensor]) -> Fault:
    """A fault of every output; bit for bit the same where the change does not touch it."""

    def fault(program: Program) -> Program:
        return lambda inputs: {name: change(value.clone()) for name, value in program(inputs).items()}

    return fault


def _with_nan(value: Tensor) -> Tensor:
    value.view(-1)[value.numel() // 2] = torch.nan
    return value


def _stale(program: Program) -> Program:
    """Gives what it computed the time before, as where a stream is not waited for."""
    before: list[Outputs] = []

    def run(inputs: Mapping[str, Tensor]) -> Outputs:
        now = {name: value.clone() for name, value in program(inputs).items()}
        before.append(now)
        return before[-2] if len(before) > 1 else now

    return run


WRONG = {
    "wrong": _changed(lambda value: value + 0.3 * value.std(correction=0) * torch.randn_like(value)),
    "NaN": _changed(_with_nan),
    "shifted": _changed(lambda value: value.roll(1, dims=-1)),
    "permuted": _changed(lambda value: value.flip(0 if len(value) > 1 else 1)),
    "zero": _changed(torch.zeros_like),
}
"""Faults that show in a single run of a stage for several objects."""
STALE: Fault = _stale
"""A fault that shows only while one frame follows another."""
