"""What builds engines and what they are: the little that the rest knows of TensorRT.

An engine is a bucket's exported graph, compiled for one GPU by one version of TensorRT. Its bytes are a plan.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .build_progress import BuildProgress
from .manifest import EXPORT_PRECISIONS
from .programs import Program, Signature

PRECISIONS = EXPORT_PRECISIONS[::-1]
"""From the lowest to the highest: the next one is tried where one fails."""
_OF_THE_DEVICE = re.compile(
    r"out ?of ?memory|could not be allocated|CUDACachingAllocator|cuda (runtime|driver|error|init)",
    re.IGNORECASE,
)
_OF_THE_ENGINE = re.compile(r"captur", re.IGNORECASE)
"""What cannot be captured into a CUDA graph is reported as an error of CUDA too."""


class EngineError(RuntimeError):
    """An engine cannot be built, loaded or run; the message gives the reason."""


class EngineResourceError(RuntimeError):
    """The device has too little memory at the moment, or fails; it says nothing about the engine."""


class EnginesMissingError(RuntimeError):
    """Engines are not there, and must not be built now; the message says what is missing."""


class TensorRTUnavailableError(RuntimeError):
    """TensorRT cannot be used here; the message gives the reason."""


def blames_device(message: str) -> bool:
    """Whether an error of TensorRT, or of torch on a GPU, is one of the device and not of the engine."""
    return bool(_OF_THE_DEVICE.search(message)) and not _OF_THE_ENGINE.search(message)


@dataclass(frozen=True)
class EngineDevice:
    """What an engine is made for; on anything else it is of no use."""

    tensorrt: str
    """Version of TensorRT."""
    gpu: str
    """Name of the GPU."""
    capability: str
    """Its compute capability, as `8.7`."""

    def __str__(self) -> str:
        return f"TensorRT {self.tensorrt} on {self.gpu} (compute capability {self.capability})"


class EngineBuilder(Protocol):
    """Builds and loads engines; `TensorRTBuilder` is the real one."""

    device: EngineDevice
    workspace: int
    """Bytes that a layer may use for intermediate results; 0: whatever the device has."""

    def device_memory(self) -> tuple[int, int]:
        """Free and total memory of the device [bytes]."""
        ...

    def build(self, graph: Path, precision: str, progress: BuildProgress) -> bytes:
        """Compiles an ONNX file to a plan; takes minutes.

        Raises:
            EngineError: TensorRT cannot build it.
            EngineResourceError: the device has too little memory, or fails.
            BuildCancelledError: `progress` was cancelled.
        """
        ...

    def load(self, plan: bytes, signature: Signature) -> Program:
        """Makes a plan ready to run.

        Raises:
            EngineError: it was built for something else, is damaged, or is not of this signature.
            EngineResourceError: the device has too little memory, or fails.
        """
        ...
