"""Exported stages that are made when they are first needed, and kept."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import onnxscript
import torch

from ..files import cache_folder
from ..model import Sam2Config, Sam2Network, state_fingerprint
from .export import export_stages
from .manifest import ManifestError, check_files, read_manifest
from .programs import Bucket


class NotExportedError(RuntimeError):
    """Stages are not exported yet, and must not be now."""


def exported_stages(
    network: Sam2Network,
    precision: str,
    buckets: Sequence[Bucket],
    report: Callable[[str], None] = lambda line: None,
    may_export: bool = True,
) -> Path:
    """The folder with the exported stages of a network, which is made where it is not there yet or damaged.

    Args:
        network: in float32.
        precision: one of `EXPORT_PRECISIONS`.
        buckets: that are needed.
        report: is told, line by line, of what is exported.
        may_export: whether what is not there is exported, which takes seconds for each bucket.

    Raises:
        NotExportedError: they are not there, and must not be exported.
        ExportError, GraphError: the stages cannot be exported.
        OSError: the folder cannot be written.
    """
    fingerprint = state_fingerprint(network.state_dict())
    folder = _folder(network.config, fingerprint, precision, buckets)
    if _intact(folder):
        return folder
    if not may_export:
        raise NotExportedError("graphs are not exported yet")
    done: list[Bucket] = []

    def tell(bucket: Bucket) -> None:
        done.append(bucket)
        report(f"exported {bucket.name} in {precision} ({len(done)} of {len(buckets)})")

    what = buckets[0].name if len(buckets) == 1 else f"{len(buckets)} graphs"
    report(f"exporting {what} in {precision}, once for this model ...")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=folder.parent))
    try:
        export_stages(network, fingerprint, partial, precision, buckets, tell)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError:
        if not _intact(folder):  # otherwise another process has made it meanwhile
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _intact(folder: Path) -> bool:
    """Whether it holds all that its manifest says, unchanged."""
    try:
        check_files(read_manifest(folder), folder)
    except ManifestError:
        return False
    return True


def _folder(config: Sam2Config, fingerprint: str, precision: str, buckets: Sequence[Bucket]) -> Path:
    """Changes with everything on which the graphs depend: also with the code that makes them."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in (*sorted((here.parent / "model").glob("*.py")), here / "stages.py", here / "export.py"):
        digest.update(path.read_bytes())
    digest.update(repr([config, fingerprint, *(bucket.name for bucket in buckets)]).encode())
    digest.update(repr([torch.__version__, onnx.__version__, onnxscript.__version__]).encode())
    name = f"{config.name}-{config.image_size}-{precision}-{digest.hexdigest()[:16]}"
    return cache_folder("stages") / name
