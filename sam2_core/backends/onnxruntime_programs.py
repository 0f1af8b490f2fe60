"""Exported stages as programs that ONNX Runtime executes; needs onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from ..model import Sam2Network, state_fingerprint
from .manifest import Manifest, check_files, read_manifest
from .programs import Bucket, Program, Signature, signature

PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
"""ONNX Runtime's execution providers by name: each takes what those before it leave."""
VERSION: str = onnxruntime.__version__
_NUMPY_TYPES = {torch.float32: np.float32, torch.int64: np.int64, torch.bool: np.bool_}


class OnnxRuntimeError(RuntimeError):
    """ONNX Runtime cannot execute the stages here; the message says why."""


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """How a graph is executed, by so many threads on a CPU.

    What is not set is as it comes: all optimisations of graphs, and an arena for intermediate results.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait do not spin: whoever publishes and draws needs the cores too.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


class OnnxRuntimeProgram:
    """One graph, bound to tensors where they lie: nothing is copied on the way in or out.

    Args:
        path: the ONNX file.
        expected: its inputs and outputs.
        device: where its tensors lie: CPU or a CUDA device.
        providers: as in `PROVIDERS`.
        options: how it is executed.

    Raises:
        OnnxRuntimeError: the graph cannot be loaded, or the provider is not what was asked for.
    """

    def __init__(
        self,
        path: Path,
        expected: Signature,
        device: torch.device,
        providers: Sequence[str],
        options: onnxruntime.SessionOptions,
    ) -> None:
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=list(providers))
        except Exception as error:  # onnxruntime's errors have no base of their own
            raise OnnxRuntimeError(f"{path} cannot be loaded: {error}") from error
        if self._session.get_providers()[0] != providers[0]:
            raise OnnxRuntimeError(f"{providers[0]} does not work here")
        self._torch_device = device
        self._device = (device.type, device.index or 0)
        self._signature = expected
        self._binding = self._session.io_binding()
        self._outputs = {
            name: torch.empty(spec.shape, dtype=spec.dtype, device=device)
            for name, spec in expected.outputs.items()
        }
        for name, output in self._outputs.items():
            self._binding.bind_output(name, *self._device, np.float32, output.shape, output.data_ptr())
        self._bound: dict[str, int] = {}

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As `Program` has it; the inputs must be contiguous."""
        for name, spec in self._signature.inputs.items():
            address = inputs[name].data_ptr()
            if self._bound.get(name) != address:
                element = _NUMPY_TYPES[spec.dtype]
                self._binding.bind_input(name, *self._device, element, spec.shape, address)
                self._bound[name] = address
        if self._device[0] == "cuda":
            # ONNX Runtime has a stream of its own.
            torch.cuda.current_stream(self._torch_device).synchronize()
        self._session.run_with_iobinding(self._binding)
        return self._outputs


def load_programs(
    folder: Path, network: Sam2Network, provider: str, options: onnxruntime.SessionOptions
) -> tuple[dict[Bucket, Program], Manifest]:
    """The exported stages of a folder, ready to run.

    Args:
        folder: what `sam2-export` wrote.
        network: which model they must be of, in float32; on the device where tensors lie.
        provider: one of `PROVIDERS`.
        options: `session_options`.

    Raises:
        ManifestError: there is no manifest, or a file is missing or altered.
        OnnxRuntimeError: they are of another model, or ONNX Runtime cannot execute them.
    """
    missing = set(PROVIDERS[provider]) - set(onnxruntime.get_available_providers())
    if missing:
        raise OnnxRuntimeError(f"this onnxruntime comes without {', '.join(sorted(missing))}")
    manifest = read_manifest(folder)
    config = network.config
    found = (manifest.model, manifest.image_size, manifest.fingerprint)
    wanted = (config.name, config.image_size, state_fingerprint(network.state_dict()))
    if found != wanted:
        raise OnnxRuntimeError(f"{folder} holds {_named(*found)}, not {_named(*wanted)}")
    check_files(manifest, folder)
    programs: dict[Bucket, Program] = {}
    for graph in manifest.graphs:
        expected = signature(graph.bucket, config)
        programs[graph.bucket] = OnnxRuntimeProgram(
            folder / graph.file, expected, network.device, PROVIDERS[provider], options
        )
    return programs, manifest


def _named(model: str, image_size: int, fingerprint: str) -> str:
    return f"{model} at {image_size} px, weights {fingerprint[:12]}"
