"""Stages captured into CUDA graphs: one launch each, at fixed shapes and addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..model import Sam2Network
from .graph_replay import GraphReplay
from .memory_reading import READINGS, compile_for_shapes, fastest_reading
from .programs import Bucket, Program, Signature, long_history, signature, stage_buckets
from .staged import StagedBackend
from .stages import AttendMemory, stage_module

OBJECTS = (1, 2, 4, 8, 16)
"""Objects that are tracked at once by a captured stage."""
_WARM_UPS = 3
"""Runs before a capture, in which libraries choose their kernels and take their workspaces."""


class CudaGraphProgram:
    """A stage that runs in its own buffers; a `Program`.

    On a GPU it is captured once and then replayed: nothing is allocated, and the host launches one graph. On
    a CPU the module runs as it is, with the same buffers.

    Args:
        module: of `stage_module`, on the device.
        expected: its inputs and outputs.
        device: where it runs.
        pool: of the graphs' temporary memory, which programs share that never run at the same time
            (`torch.cuda.graph_pool_handle()`); None: its own.
        compiled: whether `torch.compile` makes kernels of its operations first.
    """

    def __init__(
        self,
        module: nn.Module,
        expected: Signature,
        device: torch.device,
        pool: Any = None,
        compiled: bool = False,
    ) -> None:
        self._module = compile_for_shapes(module) if compiled else module
        with torch.inference_mode(False):  # so that they may be filled in any mode
            self._inputs, self._outputs = (
                {name: torch.zeros(t.shape, dtype=t.dtype, device=device) for name, t in tensors.items()}
                for tensors in (expected.inputs, expected.outputs)
            )
        self._replay: GraphReplay | None = None
        if device.type == "cuda":
            with torch.cuda.device(device):
                self._replay = self._capture(pool)

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As `Program` has it."""
        if self._replay is not None:
            return self._replay(inputs)
        for name, buffer in self._inputs.items():
            buffer.copy_(inputs[name])
        self._run()
        return self._outputs

    @torch.inference_mode()
    def _run(self) -> None:
        for buffer, value in zip(self._outputs.values(), self._module(*self._inputs.values()), strict=True):
            buffer.copy_(value)

    def _capture(self, pool: Any) -> GraphReplay:
        """As PyTorch's notes on CUDA graphs ask: warmed up on another stream first."""
        stream, warming = torch.cuda.current_stream(), torch.cuda.Stream()
        warming.wait_stream(stream)
        with torch.cuda.stream(warming):
            for _ in range(_WARM_UPS):
                self._run()
        stream.wait_stream(warming)
        graph = torch.cuda.CUDAGraph()
        # Other threads may use CUDA meanwhile.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            self._run()
        return GraphReplay(graph, self._inputs, self._outputs, stream)


def torch_backend(
    network: Sam2Network, report: Callable[[str], None] = lambda line: None
) -> Sam2Network | StagedBackend:
    """The fastest way to run a network with torch: captured stages on a GPU, the network itself elsewhere."""
    return capture(network, report=report) if network.device.type == "cuda" else network


def capture(
    network: Sam2Network,
    objects: Sequence[int] = OBJECTS,
    compiled: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> StagedBackend:
    """A network whose stages are captured, for so many objects at once; shows how far it is.

    A bucket that cannot be captured, as where the device's memory does not suffice, is left out: then fewer
    objects go at once, or the stage runs in torch.

    Args:
        network: on the device, in the precision in which it is to run.
        objects: buckets of objects that are tracked at once.
        compiled: as in `CudaGraphProgram`; it takes minutes.
        report: is told, line by line, of what is left out, and why.
    """
    buckets = [*stage_buckets(network.config, objects, "full"), long_history(network.config)]
    # Images are encoded beside the tracking of other ones, so they need memory of their own.
    pool = torch.cuda.graph_pool_handle() if network.device.type == "cuda" else None
    programs: dict[Bucket, Program] = {}
    readings: dict[str, None] = {}
    for bucket in tqdm(buckets, desc="capturing the stages", unit="stage"):
        module = stage_module(network, bucket)
        try:
            if isinstance(module, AttendMemory):
                readings[_choose_reading(module, network, bucket)] = None
            programs[bucket] = CudaGraphProgram(
                module,
                signature(bucket, network.config),
                network.device,
                None if bucket.stage == "encode_image" else pool,
                compiled,
            )
        except RuntimeError as error:  # libraries report a lack of memory each in its own way
            reason = str(error).partition("\n")[0]
            report(f"{bucket.name} is not captured into a CUDA graph: {reason}")
    how = ", compiled" if compiled else ""
    return StagedBackend(
        network, programs, f"torch {torch.__version__} in CUDA graphs{how}, memory read {'/'.join(readings)}"
    )


def _choose_reading(module: AttendMemory, network: Sam2Network, bucket: Bucket) -> str:
    """Has a stage read the memory in the way that is fastest on its device; returns its name."""
    config = network.config
    queries = config.embedding_size**2
    choice = fastest_reading(
        bucket.objects,
        queries,
        bucket.maps * queries + bucket.pointers * config.pointer_splits,
        (config.hidden_dim, config.memory_dim),
        torch.bfloat16 if network.precision == "bfloat16" else torch.float32,
        network.device,
    )
    module.read_with(READINGS[choice.name])
    return choice.name
