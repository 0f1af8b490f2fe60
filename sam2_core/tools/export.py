"""sam2-export: a model's stages as ONNX graphs, for ONNX Runtime and TensorRT."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ..backends.manifest import EXPORT_PRECISIONS, MANIFEST
from ..backends.programs import HISTORIES, stage_buckets
from ..model import CheckpointError, load_network, state_fingerprint
from .network import add_model_options
from .program import named, run_program

_DESCRIPTION = """\
Writes the stages of a model as ONNX graphs of fixed shapes, with the weights that they share and a manifest.
The node and the tools read the folder (parameter exported, option --exported); where none is given, they
export by themselves what they need, once. Needs onnx and onnxscript.
"""
_PARTIAL = ".partial"
"""Where the new graphs are until all of them are there."""


class _UsageError(ValueError):
    """The command does not make sense; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status: 0, or another one after an error was told."""
    given = _parser().parse_args(arguments)
    try:
        from ..backends.export import ExportError
        from ..backends.graph_check import GraphError
    except ImportError as error:
        print(f"sam2-export: {error}; pip install onnx onnxscript", file=sys.stderr)
        return 1
    return run_program(
        "sam2-export",
        lambda: _export(given),
        errors=(CheckpointError, ExportError, GraphError, _UsageError),
        explain=lambda error: f"cannot write{named(error)}: {error.strerror}",
        interrupted="the folder is as it was",
    )


def _export(given: argparse.Namespace) -> None:
    from ..backends.export import export_stages

    partial = given.out / _PARTIAL
    if set(given.out.glob("*")) - {partial} and not (given.out / MANIFEST).exists():
        raise _UsageError(
            f"--out {given.out} holds something else; allowed: a new folder, or exported stages"
        )
    network = load_network(given.model, given.checkpoint, given.image_size)
    buckets = stage_buckets(network.config, given.objects, given.history)
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    try:
        with tqdm(total=len(buckets), desc="exporting", unit="graph") as bar:
            fingerprint = state_fingerprint(network.state_dict())
            export_stages(network, fingerprint, partial, given.precision, buckets, lambda _: bar.update())
        # The manifest goes first: with it the folder is known for what it is, and refuses graphs of another.
        for path in sorted(partial.iterdir(), key=lambda path: path.name != MANIFEST):
            path.replace(given.out / path.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    size = sum(path.stat().st_size for path in given.out.iterdir())
    print(f"{len(buckets)} graphs of {network.config.name} in {given.precision}, {size / 1e6:.0f} MB")


def _objects(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r}; allowed: whole numbers from 1 on, with commas between them"
        )
    return numbers


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sam2-export",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the graphs")
    add_model_options(parser)
    parser.add_argument(
        "--precision",
        choices=EXPORT_PRECISIONS,
        default="fp32",
        help="of the products in the heavy stages; the rest is in float32 (default: %(default)s)",
    )
    parser.add_argument(
        "--objects",
        type=_objects,
        default=[1, 2, 4, 8],
        metavar="LIST",
        help="numbers of objects for which there are graphs (default: 1,2,4,8)",
    )
    parser.add_argument(
        "--history",
        choices=HISTORIES,
        default="full",
        help="one graph for all lengths of the memory, or several (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
