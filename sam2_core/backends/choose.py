"""Which backend runs the network: the one that a user asks for, or the fastest that works here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from ..model import Precision, Sam2Config, Sam2Network, choose_precision, load_network
from .base import Backend
from .cuda_graphs import torch_backend
from .engines import TensorRTUnavailableError
from .manifest import ManifestError
from .programs import STAGES, Bucket, long_history, stage_buckets
from .self_check import Rehearse
from .staged import StagedBackend
from .tensorrt_backend import EngineOptions, load_tensorrt

BACKENDS = ("auto", "torch", "onnxruntime", "tensorrt")
"""What a user may ask for."""
PROVIDERS = ("auto", "cpu", "cuda", "tensorrt")
"""ONNX Runtime's execution providers that a user may ask for; auto: that of the device."""
_CPU_OBJECTS = (1, 2, 3)
"""Numbers of objects that are tracked at once on a CPU."""
_ENGINE_PRECISIONS = {"float32": "fp32", "bfloat16": "bf16"}


class BackendUnavailableError(RuntimeError):
    """A backend does not work here; the message says why."""


@dataclass(frozen=True)
class BackendOptions:
    """What a user may choose."""

    backend: str = "auto"
    """One of `BACKENDS`."""
    model: str = ""
    checkpoint: str | Path = ""
    image_size: int | None = None
    precision: str = "auto"
    device: str = "cpu"
    """As in `load_network`, these five."""
    threads: int = 0
    """That compute on a CPU; 0: as many as torch uses."""
    exported: str | Path = ""
    """Folder that `sam2-export` wrote; empty: exported when it is first needed, into the cache."""
    provider: str = "auto"
    """One of `PROVIDERS`."""
    may_export: bool = False
    """Whether `auto` may take minutes, once for a model, to export and build what a faster backend needs."""
    engine_objects: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers of objects for which TensorRT engines are built: a GPU hardly notices one object more."""
    workspace: int = 0
    """Memory that a layer of a TensorRT engine may use while it runs [MiB]; 0: whatever the device has."""

    def __post_init__(self) -> None:
        for name, allowed in (("backend", BACKENDS), ("provider", PROVIDERS)):
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"{name} {value!r} is unknown; allowed: {', '.join(allowed)}")


@dataclass(frozen=True)
class LoadedBackend:
    """A backend, and how it came to be this one."""

    backend: Backend
    network: Sam2Network
    """The weights; runs what the backend leaves to torch."""
    kind: str
    """One of `BACKENDS`, but not auto."""
    name: str
    """What it is, with version and precision."""
    reason: str
    """Why it is this one, in a line."""
    stages: Mapping[str, str]
    """What runs each stage."""
    proof: Mapping[str, str] = field(default_factory=dict)
    """How it was compared with float32 on this device, for diagnostics; empty: it was not."""


class _Executor(NamedTuple):
    """What a loader gives."""

    backend: StagedBackend
    name: str
    """With version and precision."""
    proof: Mapping[str, str] = {}


def load_backend(
    options: BackendOptions,
    report: Callable[[str], None] = lambda line: None,
    rehearse: Rehearse | None = None,
    cancelled: threading.Event | None = None,
) -> LoadedBackend:
    """Loads the network and what runs it; a backend that does not work here gives way to the next.

    Args:
        options: what the user chose.
        report: is told, line by line, of what takes long.
        rehearse: tracks the reference clip (`sam2_core.tracking.rehearsal.rehearse`); without it TensorRT,
            whose engines must be checked, is not used.
        cancelled: may be set by another thread to stop the building of engines.

    Raises:
        CheckpointError, ValueError: as `load_network`.
        BuildCancelledError: `cancelled` was set.
    """
    loaders: dict[str, Callable[..., _Executor]] = {
        "onnxruntime": _load_onnxruntime,
        "tensorrt": partial(_load_tensorrt, rehearse=rehearse, cancelled=cancelled or threading.Event()),
    }
    network = load_network(options.model, options.checkpoint, options.image_size, device=options.device)
    precision = choose_precision(options.precision, network.config, options.device)
    refused: list[str] = []
    for name in _order(options):
        try:
            executor = loaders[name](options, network, precision, report)
        except BackendUnavailableError as error:
            refused.append(f"{name} is not used: {error}")
            continue
        wish = "asked for" if name == options.backend else f"the fastest on {network.device.type}"
        reason, stages = "; ".join([wish, *refused]), executor.backend.describe()
        return LoadedBackend(executor.backend, network, name, executor.name, reason, stages, executor.proof)
    if precision == "bfloat16":
        network.reduce_precision()
    reasons = refused or ["asked for"]
    name = f"torch {torch.__version__} in {network.precision}"
    backend = torch_backend(network, report)
    stages = backend.describe() if isinstance(backend, StagedBackend) else dict.fromkeys(STAGES, "torch")
    return LoadedBackend(backend, network, "torch", name, "; ".join(reasons), stages)


def _order(options: BackendOptions) -> list[str]:
    """What is tried before torch."""
    if options.backend == "torch":
        return []
    fastest = "onnxruntime" if torch.device(options.device).type == "cpu" else "tensorrt"
    asked = [] if options.backend == "auto" else [options.backend]
    return list(dict.fromkeys([*asked, fastest]))


def _load_onnxruntime(
    options: BackendOptions, network: Sam2Network, precision: Precision, report: Callable[[str], None]
) -> _Executor:
    device = network.device.type
    provider = device if options.provider == "auto" else options.provider
    if (provider == "cpu") != (device == "cpu"):
        raise BackendUnavailableError(f"the provider {provider} does not work on the device {device}")
    if precision == "bfloat16" and (options.precision, options.backend) != ("auto", "onnxruntime"):
        raise BackendUnavailableError("torch computes in bfloat16, ONNX Runtime's graphs in float32")
    try:
        from . import onnxruntime_programs as programs
    except ImportError as error:
        raise BackendUnavailableError(f"{error}; pip install onnxruntime") from error
    folder = Path(options.exported) if options.exported else _exported(options, network, report)
    session = programs.session_options(options.threads or torch.get_num_threads())
    try:
        loaded, manifest = programs.load_programs(folder.expanduser(), network, provider, session)
    except (ManifestError, programs.OnnxRuntimeError) as error:
        raise BackendUnavailableError(str(error)) from error
    name = f"ONNX Runtime {programs.VERSION} ({provider})"
    return _Executor(StagedBackend(network, loaded, name), f"{name} in {manifest.precision}")


def cpu_buckets(config: Sam2Config) -> list[Bucket]:
    """What is exported for a CPU, where unused room costs its time, and many objects at once gain nothing.

    These are all small numbers of tracked objects, and one by one what is rarer, prompts and long histories.
    """
    tracked = [b for b in stage_buckets(config, _CPU_OBJECTS, "full") if b.stage != "decode_prompted"]
    return [*tracked, Bucket("decode_prompted"), long_history(config)]


def _exported(options: BackendOptions, network: Sam2Network, report: Callable[[str], None]) -> Path:
    """The folder in the cache with the stages, exported there if they are not yet."""
    try:
        from .export import ExportError
        from .export_cache import NotExportedError, exported_stages
    except ImportError as error:
        raise BackendUnavailableError(f"{error}; pip install onnx onnxscript") from error
    may_export = options.may_export or options.backend == "onnxruntime"
    try:
        return exported_stages(network, "fp32", cpu_buckets(network.config), report, may_export)
    except NotExportedError as error:
        raise BackendUnavailableError(
            "its graphs are not there yet; --backend onnxruntime exports them once, which takes a minute"
        ) from error
    except ExportError as error:
        raise BackendUnavailableError(str(error)) from error
    except OSError as error:
        raise BackendUnavailableError(f"{error.filename} cannot be written: {error.strerror}") from error


def _load_tensorrt(
    options: BackendOptions,
    network: Sam2Network,
    precision: Precision,
    report: Callable[[str], None],
    rehearse: Rehearse | None,
    cancelled: threading.Event,
) -> _Executor:
    if rehearse is None:
        raise BackendUnavailableError("its engines cannot be checked here")
    engines = EngineOptions(
        objects=options.engine_objects,
        precision="fp16-mixed" if options.precision == "auto" else _ENGINE_PRECISIONS[precision],
        workspace=options.workspace,
        may_build=options.may_export,
    )
    try:
        backend, outcome = load_tensorrt(network, engines, rehearse, report, cancelled)
    except TensorRTUnavailableError as error:
        raise BackendUnavailableError(str(error)) from error
    name = f"TensorRT {outcome.device.tensorrt} ({outcome.precisions})"
    return _Executor(backend, name, outcome.diagnostics())
