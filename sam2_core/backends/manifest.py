"""The manifest of exported stages: which model they are, which buckets there are, whether they are intact."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from ..files import replacing
from .programs import Bucket

MANIFEST = "manifest.json"
WEIGHTS = "weights.bin"
"""The large tensors of all graphs of a folder, as ONNX's external data."""
EXPORT_PRECISIONS = ("fp32", "bf16", "fp16-mixed")
"""In which numbers the heavy stages of an exported graph compute; what stays float32 is in the graph."""


class ManifestError(ValueError):
    """A folder of exported stages cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class ExportedGraph:
    """One bucket as an ONNX file."""

    bucket: Bucket
    file: str
    """Relative to the manifest."""
    sha256: str
    """Of the file and of the weights beside it (`graph_digest`)."""


@dataclass(frozen=True)
class Manifest:
    """What a folder of exported stages holds."""

    model: str
    """Name of the configuration."""
    image_size: int
    """S [px]."""
    fingerprint: str
    """Of the weights (`Checkpoint.fingerprint`)."""
    precision: str
    """One of `EXPORT_PRECISIONS`."""
    opset: int
    tools: dict[str, str]
    """Versions of what made it."""
    graphs: tuple[ExportedGraph, ...]


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Writes `manifest.json` into the folder of the graphs."""
    with replacing(folder / MANIFEST) as part:
        part.write_text(json.dumps(asdict(manifest), indent=2) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder of exported stages.

    Raises:
        ManifestError: there is none, or it is damaged.
    """
    path = folder / MANIFEST
    try:
        fields = json.loads(path.read_text())
        graphs = tuple(
            ExportedGraph(Bucket(**graph["bucket"]), graph["file"], graph["sha256"])
            for graph in fields.pop("graphs")
        )
        return Manifest(graphs=graphs, **fields)
    except FileNotFoundError as error:
        raise ManifestError(f"{path}: there is no such file; sam2-export writes it") from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"{path} is damaged: {error!r}") from error


def check_files(manifest: Manifest, folder: Path) -> None:
    """Raises ManifestError unless every file of a manifest is there, as it was written."""
    for graph in manifest.graphs:
        path = folder / graph.file
        try:
            digest = graph_digest(path)
        except OSError as error:
            raise ManifestError(f"{error.filename or path} cannot be read: {error.strerror}") from error
        if digest != graph.sha256:
            raise ManifestError(f"{path} or {WEIGHTS} beside it was altered or is damaged; export it again")


def graph_digest(path: Path) -> str:
    """SHA-256 of an ONNX file and of the weights beside it.

    Raises:
        OSError: a file cannot be read.
    """
    weights = path.parent / WEIGHTS
    state = weights.stat()
    return hashlib.sha256(
        path.read_bytes() + _file_digest(weights, state.st_size, state.st_mtime_ns)
    ).hexdigest()


@cache
def _file_digest(path: Path, size: int, modified: int) -> bytes:
    """SHA-256 of a file, computed once for all the graphs that share it, as long as it stays the same."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.digest()
