"""TensorRT 10.3 to 11.4: builds engines from exported graphs and loads them.

Networks are strongly typed: the graph says what is computed in which precision, which is the only way that
all these versions have.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path

import tensorrt as trt
import torch

from ..files import replacing
from .build_progress import BuildCancelledError, BuildProgress
from .engines import EngineDevice, EngineError, EngineResourceError, blames_device
from .programs import Program, Signature
from .tensorrt_program import EngineProgram, Scratch

_SHOWN = 3
"""Errors of TensorRT that a message quotes at most: the last ones."""


class TensorRTBuilder:
    """Builds and loads engines on one GPU; implements `EngineBuilder`.

    Args:
        device: a CUDA device.
        workspace: bytes that a layer may use for intermediate results; 0: whatever the device has.
        folder: where the timing cache is kept: what one building measures, the next need not.
    """

    def __init__(self, device: torch.device, workspace: int, folder: Path) -> None:
        major, minor = torch.cuda.get_device_capability(device)
        self.device = EngineDevice(trt.__version__, torch.cuda.get_device_name(device), f"{major}.{minor}")
        self.workspace = workspace
        name = re.sub(r"\W+", "-", f"{self.device.gpu}-{self.device.capability}-{self.device.tensorrt}")
        self._timings = folder / f"timings-{name}.cache"
        self._torch_device = device
        self._log = _Log()
        self._runtime: trt.Runtime = trt.Runtime(self._log)
        # Two, since an image may be encoded while objects are tracked on the one before.
        self._image_scratch, self._object_scratch = Scratch(device), Scratch(device)

    def device_memory(self) -> tuple[int, int]:
        """Free and total memory of the device [bytes]."""
        free, total = torch.cuda.mem_get_info(self._torch_device)
        return free, total

    def build(self, graph: Path, precision: str, progress: BuildProgress) -> bytes:
        """As `EngineBuilder.build` has it."""
        self._log.clear()
        torch.cuda.empty_cache()  # what torch keeps for later, TensorRT may need now
        with torch.cuda.device(self._torch_device):
            builder: trt.Builder = trt.Builder(self._log)
            network: trt.INetworkDefinition = builder.create_network(
                1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
            )
            parser: trt.OnnxParser = trt.OnnxParser(network, self._log)
            if not parser.parse_from_file(str(graph)):
                raise EngineError(f"TensorRT cannot read {graph.name}: {_first_error(parser)}")
            config: trt.IBuilderConfig = builder.create_builder_config()
            config.default_device_type = trt.DeviceType.GPU  # never the DLA, which computes in other numbers
            if self.workspace:
                config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, self.workspace)
            if precision == "fp32":  # in which TensorRT would multiply with the ten bits of TF32
                config.clear_flag(trt.BuilderFlag.TF32)
            config.progress_monitor = _Monitor(progress)
            self._use_timings(config)
            plan: trt.IHostMemory | None = builder.build_serialized_network(network, config)
            if progress.cancelled.is_set():
                raise BuildCancelledError(f"the building of {graph.name} was cancelled")
            if plan is None:
                raise self._failure(f"TensorRT cannot build {graph.name}")
            self._keep_timings(config)
            return bytes(plan)

    def load(self, plan: bytes, signature: Signature) -> Program:
        """As `EngineBuilder.load` has it."""
        self._log.clear()
        with torch.cuda.device(self._torch_device):
            engine: trt.ICudaEngine | None = self._runtime.deserialize_cuda_engine(plan)
            if engine is None:
                raise self._failure("TensorRT cannot load the plan")
            scratch = self._image_scratch if "pixels" in signature.inputs else self._object_scratch
            try:
                return EngineProgram(self._runtime, engine, signature, scratch, self._torch_device)
            except RuntimeError as error:  # the program's own, or torch's, which allocates and captures
                raise self._failure(str(error).partition("\n")[0]) from error

    def _failure(self, what: str) -> EngineError | EngineResourceError:
        """The error to raise: what failed, with the reasons that TensorRT gave."""
        reasons = self._log.errors()
        device = [reason for reason in reasons if blames_device(reason)]
        if device or blames_device(what):
            return EngineResourceError("; ".join([what, *device[-_SHOWN:]]))
        return EngineError("; ".join([what, *reasons[-_SHOWN:]]))

    def _use_timings(self, config: trt.IBuilderConfig) -> None:
        known = self._timings.read_bytes() if self._timings.is_file() else b""
        cache: trt.ITimingCache | None = config.create_timing_cache(known)
        # Damaged, or of another device.
        if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
            empty: trt.ITimingCache = config.create_timing_cache(b"")
            config.set_timing_cache(empty, ignore_mismatch=False)

    def _keep_timings(self, config: trt.IBuilderConfig) -> None:
        cache: trt.ITimingCache | None = config.get_timing_cache()
        if cache is None:
            return
        measured: trt.IHostMemory = cache.serialize()
        self._timings.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self._timings) as part:
            part.write_bytes(bytes(measured))


class _Log(trt.ILogger):
    """Keeps the errors that TensorRT tells, from any of its threads."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._lock = threading.Lock()
        self._errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            with self._lock:
                self._errors.append(msg)

    def clear(self) -> None:
        with self._lock:
            self._errors.clear()

    def errors(self) -> list[str]:
        """Those since `clear`, in their order."""
        with self._lock:
            return list(self._errors)


class _Monitor(trt.IProgressMonitor):
    """Hands TensorRT's reports on."""

    def __init__(self, progress: BuildProgress) -> None:
        trt.IProgressMonitor.__init__(self)
        self._progress = progress

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        self._progress.phase_start(phase_name, parent_phase, num_steps)

    def step_complete(self, phase_name: str, step: int) -> bool:
        return self._progress.step_complete(phase_name, step)

    def phase_finish(self, phase_name: str) -> None:
        self._progress.phase_finish(phase_name)


def _first_error(parser: trt.OnnxParser) -> str:
    if not parser.num_errors:
        return "it gives no reason"
    error: trt.ParserError = parser.get_error(0)
    return f"{error.desc()} (node {error.node_name()} of type {error.node_operator()})"
