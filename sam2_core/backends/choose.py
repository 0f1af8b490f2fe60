"""Which backend runs the network: the one that a user asks for, or the fastest that works here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..model import Precision, Sam2Network, choose_precision, load_network
from .base import Backend
from .manifest import ManifestError
from .programs import HISTORIES, STAGES, Bucket, stage_buckets
from .staged import StagedBackend

BACKENDS = ("auto", "torch", "onnxruntime", "tensorrt")
"""What a user may ask for."""
PROVIDERS = ("auto", "cpu", "cuda", "tensorrt")
"""ONNX Runtime's execution providers that a user may ask for; auto: that of the device."""
CPU_BUCKETS = (
    *(bucket for bucket in stage_buckets((1, 2, 3), "full") if bucket.stage != "decode_prompted"),
    Bucket("decode_prompted"),
    Bucket("attend_memory", 1, *HISTORIES["buckets"][-1]),
)
"""What is exported for a CPU, where unused room costs its time, and many objects at once gain nothing:
all small numbers of tracked objects, and one by one what is rarer, prompts and long histories."""


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
    """Whether `auto` may take a minute, once for a model, to export what a faster backend needs."""

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
    name: str
    """What it is, with version and precision."""
    reason: str
    """Why it is this one, in a line."""
    stages: Mapping[str, str]
    """What runs each stage."""


def load_backend(options: BackendOptions, report: Callable[[str], None] = lambda line: None) -> LoadedBackend:
    """Loads the network and what runs it; a backend that does not work here gives way to the next.

    Args:
        options: what the user chose.
        report: is told, line by line, of what takes long.

    Raises:
        CheckpointError, ValueError: as `load_network`.
    """
    network = load_network(options.model, options.checkpoint, options.image_size, device=options.device)
    precision = choose_precision(options.precision, network.config, options.device)
    refused: list[str] = []
    for name in _order(options):
        try:
            staged, version = _LOADERS[name](options, network, precision, report)
        except BackendUnavailableError as error:
            refused.append(f"{name} is not used: {error}")
            continue
        wish = "asked for" if name == options.backend else f"the fastest on {network.device.type}"
        return LoadedBackend(staged, network, version, "; ".join([wish, *refused]), staged.describe())
    if precision == "bfloat16":
        network.reduce_precision()
    reasons = refused or ["asked for"]
    name = f"torch {torch.__version__} in {network.precision}"
    return LoadedBackend(network, network, name, "; ".join(reasons), dict.fromkeys(STAGES, "torch"))


def _order(options: BackendOptions) -> list[str]:
    """What is tried before torch."""
    if options.backend == "torch":
        return []
    fastest = "onnxruntime" if torch.device(options.device).type == "cpu" else "tensorrt"
    asked = [] if options.backend == "auto" else [options.backend]
    return list(dict.fromkeys([*asked, fastest]))


def _load_onnxruntime(
    options: BackendOptions, network: Sam2Network, precision: Precision, report: Callable[[str], None]
) -> tuple[StagedBackend, str]:
    device = network.device.type
    provider = device if options.provider == "auto" else options.provider
    if (provider == "cpu") != (device == "cpu"):
        raise BackendUnavailableError(f"the provider {provider} does not work on the device {device}")
    if precision == "bfloat16" and (options.precision, options.backend) != ("auto", "onnxruntime"):
        raise BackendUnavailableError("torch computes in bfloat16, which ONNX Runtime does not on a CPU")
    try:
        from . import onnxruntime_programs as programs
    except ImportError as error:
        raise BackendUnavailableError(f"{error}; pip install onnxruntime") from error
    folder = Path(options.exported) if options.exported else _exported(options, network, report)
    try:
        loaded, manifest = programs.load_programs(
            folder.expanduser(), network, provider, options.threads or torch.get_num_threads()
        )
    except (ManifestError, programs.OnnxRuntimeError) as error:
        raise BackendUnavailableError(str(error)) from error
    name = f"ONNX Runtime {programs.VERSION} ({provider})"
    return StagedBackend(network, loaded, name), f"{name} in {manifest.precision}"


def _exported(options: BackendOptions, network: Sam2Network, report: Callable[[str], None]) -> Path:
    """The folder in the cache with the stages, exported there if they are not yet."""
    try:
        from .export import ExportError
        from .export_cache import exported_stages, find_exported_stages
    except ImportError as error:
        raise BackendUnavailableError(f"{error}; pip install onnx onnxscript") from error
    buckets = CPU_BUCKETS
    found = find_exported_stages(network, "fp32", buckets)
    if found:
        return found
    if options.backend != "onnxruntime" and not options.may_export:
        raise BackendUnavailableError(
            "its graphs are not there yet; --backend onnxruntime exports them once, which takes a minute"
        )
    report(f"exporting {len(buckets)} graphs for ONNX Runtime, once for this model; this takes a minute ...")
    done: list[Bucket] = []

    def tell(bucket: Bucket) -> None:
        done.append(bucket)
        report(f"exported {bucket.name} ({len(done)} of {len(buckets)})")

    try:
        return exported_stages(network, "fp32", buckets, tell)
    except ExportError as error:
        raise BackendUnavailableError(str(error)) from error
    except OSError as error:
        raise BackendUnavailableError(f"{error.filename} cannot be written: {error.strerror}") from error


def _load_tensorrt(
    options: BackendOptions, network: Sam2Network, precision: Precision, report: Callable[[str], None]
) -> tuple[StagedBackend, str]:
    raise BackendUnavailableError("there is no executor for it in this version")


_LOADERS = {"onnxruntime": _load_onnxruntime, "tensorrt": _load_tensorrt}
"""How each backend but torch is loaded: to what runs the stages, and its name with version and precision."""
