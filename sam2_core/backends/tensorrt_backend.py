"""From a network to a backend of TensorRT engines: exports, builds, checks; or says why that cannot be."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..files import cache_folder
from ..model import Sam2Network
from .engine_cache import EngineCache
from .engine_outcome import EngineOutcome
from .engines import (
    PRECISIONS,
    EngineBuilder,
    EngineError,
    EnginesMissingError,
    TensorRTUnavailableError,
)
from .manifest import read_manifest
from .programs import Bucket, long_history, stage_buckets
from .proven_engines import Again, Graph, ProvenEngines
from .self_check import Rehearse, SelfCheck
from .staged import StagedBackend

OLDEST = (10, 3)
"""Version of TensorRT from which on everything that is used is there."""


@dataclass(frozen=True)
class EngineOptions:
    """What a user may choose about engines."""

    objects: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers of objects for which there is an engine; others are padded to the next, or divided."""
    history: str = "full"
    """How many memories the engines read: one of `programs.HISTORIES`."""
    precision: str = "fp16-mixed"
    """With which to begin, one of `engines.PRECISIONS`."""
    workspace: int = 0
    """Memory that a layer may use for intermediate results [MiB]; 0: whatever the device has."""
    folder: Path = field(default_factory=lambda: cache_folder("engines"))
    """Where engines are kept."""
    again: Again = "nothing"
    """What to do although it was done before."""
    may_build: bool = True
    """Whether to export and build what is missing, which takes minutes; if not, what is there is used."""

    def __post_init__(self) -> None:
        if not self.objects or min(self.objects) < 1:
            raise ValueError(f"objects are {self.objects}; allowed: one or more numbers from 1 on")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision {self.precision!r} is unknown; allowed: {', '.join(PRECISIONS)}")
        if self.workspace < 0:
            raise ValueError(f"workspace is {self.workspace} MiB; allowed: 0 (no limit) or more")


def load_tensorrt(
    network: Sam2Network,
    options: EngineOptions,
    rehearse: Rehearse,
    report: Callable[[str], None],
    cancelled: threading.Event,
) -> tuple[StagedBackend, EngineOutcome]:
    """A backend of engines that were proven right on this device; takes long where they must be built first.

    Args:
        network: in float32, on a CUDA device; runs what no engine does.
        options: what the user chose.
        rehearse: tracks the reference clip (`sam2_core.tracking.rehearsal.rehearse`).
        report: is told, line by line, what happens.
        cancelled: may be set by another thread to stop a building.

    Raises:
        TensorRTUnavailableError: there is no GPU, no TensorRT, or not all that it needs.
        BuildCancelledError: `cancelled` was set.
        KeyboardInterrupt: Ctrl-C, while an engine was built.
    """
    builder = open_tensorrt(network.device, options)
    return load_engines(builder, network, options, rehearse, report, cancelled)


def open_tensorrt(device: torch.device, options: EngineOptions) -> EngineBuilder:
    """TensorRT on a device. Raises TensorRTUnavailableError."""
    if not torch.cuda.is_available():
        raise TensorRTUnavailableError("PyTorch finds no NVIDIA GPU")
    if device.type != "cuda":
        raise TensorRTUnavailableError(f"the device is {device}; allowed: a CUDA device")
    try:
        import tensorrt
    except Exception as error:  # its libraries may be missing or not fit, each in its own way
        raise TensorRTUnavailableError(
            f"the Python package tensorrt cannot be imported ({error}): on a Jetson install JetPack's "
            "python3-libnvinfer, elsewhere pip install tensorrt"
        ) from error
    version = tuple(int(part) for part in tensorrt.__version__.split(".")[:2])
    if version < OLDEST:
        raise TensorRTUnavailableError(
            f"TensorRT {tensorrt.__version__} is too old; allowed: {'.'.join(map(str, OLDEST))} or newer"
        )
    from .tensorrt_engine import TensorRTBuilder

    try:
        return TensorRTBuilder(device, options.workspace * 2**20, options.folder)
    except (RuntimeError, TypeError) as error:  # a driver that does not fit
        raise TensorRTUnavailableError(f"TensorRT {tensorrt.__version__} does not start: {error}") from error


def load_engines(
    builder: EngineBuilder,
    network: Sam2Network,
    options: EngineOptions,
    rehearse: Rehearse,
    report: Callable[[str], None],
    cancelled: threading.Event,
) -> tuple[StagedBackend, EngineOutcome]:
    """`load_tensorrt` with a builder that is open already."""
    buckets = stage_buckets(network.config, options.objects, options.history)
    longer = long_history(network.config)
    if longer not in buckets:
        buckets.append(longer)
    # The largest first: engines share the memory for intermediate results, and the first takes all of it.
    buckets.sort(key=lambda bucket: -bucket.objects)
    graphs = _ExportedGraphs(network, options.may_build, report)
    check = SelfCheck(network, buckets, rehearse)
    cache = EngineCache(options.folder)
    engines = ProvenEngines(builder, cache, graphs, network, check, report, cancelled, options.may_build)
    try:
        return engines.load(buckets, options.precision, options.again)
    except ImportError as error:
        raise TensorRTUnavailableError(f"{error}: pip install onnx onnxscript") from error
    except EnginesMissingError as error:
        raise TensorRTUnavailableError(
            f"its engines for this model and GPU are not there yet ({error}): sam2-engine build"
        ) from error
    except EngineError as error:
        raise TensorRTUnavailableError(str(error)) from error
    except torch.cuda.OutOfMemoryError as error:
        raise TensorRTUnavailableError("the device has not enough memory to check its engines") from error
    except OSError as error:
        raise TensorRTUnavailableError(
            f"engines cannot be kept: {error.filename or options.folder}: {error.strerror}"
        ) from error


class _ExportedGraphs:
    """The graphs of a network, each exported by itself when it is first asked for: the others change nothing.

    Args:
        network: in float32.
        may_export: whether what is not there is exported.
        report: is told when there is something to wait for.
    """

    def __init__(self, network: Sam2Network, may_export: bool, report: Callable[[str], None]) -> None:
        self._network = network
        self._may_export = may_export
        self._report = report
        self._known: dict[tuple[Bucket, str], Graph] = {}

    def __call__(self, bucket: Bucket, precision: str) -> Graph:
        """As `GraphSource` has it. Raises EnginesMissingError too."""
        if (bucket, precision) not in self._known:
            folder = self._find(bucket, precision)
            (graph,) = read_manifest(folder).graphs
            self._known[bucket, precision] = Graph(folder / graph.file, graph.sha256)
        return self._known[bucket, precision]

    def _find(self, bucket: Bucket, precision: str) -> Path:
        from .export import ExportError
        from .export_cache import NotExportedError, exported_stages

        try:
            return exported_stages(self._network, precision, [bucket], self._report, self._may_export)
        except NotExportedError as error:
            raise EnginesMissingError(str(error)) from error
        except ExportError as error:
            raise EngineError(f"the graph cannot be exported in {precision}: {error}") from error
