"""How a captured CUDA graph is run, whoever captured it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class GraphReplay:
    """A CUDA graph with the buffers that it reads and writes; implements `Program`.

    It is launched on the stream of whoever calls. Calls on several streams take effect in the order in which
    they are made, what is done with the outputs in between included.

    Args:
        graph: was captured.
        inputs: its input buffers.
        outputs: its output buffers.
        stream: in whose order everything that concerns the buffers was launched up to now.
    """

    def __init__(
        self,
        graph: torch.cuda.CUDAGraph,
        inputs: Mapping[str, Tensor],
        outputs: dict[str, Tensor],
        stream: torch.cuda.Stream,
    ) -> None:
        self._graph = graph
        self._inputs = inputs
        self._outputs = outputs
        self._stream = stream

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As `Program` has it; the host waits for nothing."""
        stream = torch.cuda.current_stream(self._stream.device)
        if stream != self._stream:
            stream.wait_stream(self._stream)
            self._stream = stream
        for name, buffer in self._inputs.items():
            buffer.copy_(inputs[name], non_blocking=True)
        self._graph.replay()
        return self._outputs
