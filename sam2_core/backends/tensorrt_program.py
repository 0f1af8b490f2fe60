"""A TensorRT engine as a program: fixed shapes and addresses, captured into a CUDA graph."""

from __future__ import annotations

from collections.abc import Mapping

import tensorrt as trt
import torch
from torch import Tensor

from .engines import EngineError
from .graph_replay import GraphReplay
from .programs import Signature

_DTYPES: dict[trt.DataType, torch.dtype] = {
    trt.DataType.FLOAT: torch.float32,
    trt.DataType.INT64: torch.int64,
    trt.DataType.BOOL: torch.bool,
}


class Scratch:
    """Device memory for intermediate results, shared by engines of which only one runs at a time.

    Args:
        device: where.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._memory = torch.empty(0, dtype=torch.uint8, device=device)

    def of(self, size: int) -> Tensor:
        """At least so many bytes. Whoever got less before keeps what it got."""
        if self._memory.numel() < size:
            self._memory = torch.empty(size, dtype=torch.uint8, device=self._device)
        return self._memory


class EngineProgram:
    """Runs an engine as a CUDA graph on torch's current stream; implements `Program`.

    Inputs and outputs are torch tensors at whose addresses the engine reads and writes.

    Args:
        runtime: loaded the engine, and must live as long as it does.
        engine: of fixed shapes.
        signature: what it must take and give.
        scratch: for its intermediate results; engines that share it are called on one stream.
        device: where it was loaded.

    Raises:
        EngineError: the engine is not of this signature, or cannot run.
        RuntimeError: torch cannot allocate its memory, or cannot capture it.
    """

    def __init__(
        self,
        runtime: trt.Runtime,
        engine: trt.ICudaEngine,
        signature: Signature,
        scratch: Scratch,
        device: torch.device,
    ) -> None:
        self._device = device
        self._owners = (runtime, engine)
        self._context: trt.IExecutionContext | None = engine.create_execution_context(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        if self._context is None:
            raise EngineError("TensorRT makes no execution context")
        # The context reads and writes there for as long as it lives.
        self._scratch = scratch.of(engine.device_memory_size_v2)
        if self._scratch.numel():
            self._context.set_device_memory(self._scratch.data_ptr(), self._scratch.numel())
        inputs = self._bind(self._context, engine, signature, trt.TensorIOMode.INPUT)
        outputs = self._bind(self._context, engine, signature, trt.TensorIOMode.OUTPUT)
        stream = torch.cuda.Stream(device)  # TensorRT wants another one than the default
        self._replay = GraphReplay(self._capture(self._context, stream), inputs, outputs, stream)

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As `Program` has it."""
        return self._replay(inputs)

    def _bind(
        self,
        context: trt.IExecutionContext,
        engine: trt.ICudaEngine,
        signature: Signature,
        mode: trt.TensorIOMode,
    ) -> dict[str, Tensor]:
        """Buffers for all inputs or all outputs, and their addresses told to the engine."""
        specs = signature.inputs if mode == trt.TensorIOMode.INPUT else signature.outputs
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        found = {name for name in names if engine.get_tensor_mode(name) == mode}
        if found != set(specs):
            raise EngineError(f"it has {sorted(found)} where {sorted(specs)} is needed")
        buffers = {}
        for name, spec in specs.items():
            shape, dtype = tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name)
            if shape != spec.shape or _DTYPES.get(dtype) != spec.dtype:
                raise EngineError(f"its {name} is {dtype} {shape} where {spec.dtype} {spec.shape} is needed")
            if mode == trt.TensorIOMode.INPUT and not context.set_input_shape(name, spec.shape):
                raise EngineError(f"TensorRT refuses shape {spec.shape} of {name}")
            # Outside of inference mode, so that they may be filled in any mode.
            with torch.inference_mode(False):
                buffers[name] = torch.zeros(spec.shape, dtype=spec.dtype, device=self._device)
            if not context.set_tensor_address(name, buffers[name].data_ptr()):
                raise EngineError(f"TensorRT refuses the address of {name}")
        return buffers

    def _capture(self, context: trt.IExecutionContext, stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
        """Records what an execution launches. The first one after a change of shapes also sets things up."""
        stream.wait_stream(torch.cuda.current_stream(self._device))
        if not context.execute_async_v3(stream.cuda_stream):
            raise EngineError("TensorRT cannot execute it")
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Other threads may use CUDA meanwhile.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            captured = context.execute_async_v3(stream.cuda_stream)
        if not captured:
            raise EngineError("TensorRT cannot execute it within a CUDA graph")
        return graph
