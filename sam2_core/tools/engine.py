"""`sam2-engine`: TensorRT engines ahead of time, so that the node starts at once."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from ..backends.build_progress import BuildCancelledError
from ..backends.engine_cache import EngineCache, EngineRecord
from ..backends.engines import PRECISIONS, TensorRTUnavailableError
from ..backends.tensorrt_backend import EngineOptions, load_tensorrt
from ..files import cache_folder
from ..model import CheckpointError, load_network
from ..tracking.rehearsal import rehearse
from .network import add_model_options
from .program import named, run_program

_DESCRIPTION = """\
Builds TensorRT engines of a model for the GPU of this machine, and checks each of them on the spot: every
stage, and then the whole tracker on a short clip, must find what PyTorch finds in float32. An engine that
does not is built in the next higher precision (fp16-mixed, bf16, fp32); what fails in all of them runs in
PyTorch.

This takes many minutes, once. The engines are kept, and the node, which would otherwise build them when it is
configured, finds them. They are good for this GPU and this version of TensorRT only.
"""
_EXAMPLES = """\
examples:
  sam2-engine build --checkpoint sam2.1_hiera_tiny.pt
  sam2-engine build --checkpoint sam2.1_hiera_tiny.pt --objects 1,2 --workspace 512    (Jetson with 8 GB)
  sam2-engine check --checkpoint sam2.1_hiera_tiny.pt       (after an update of the driver)
  sam2-engine list
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status: 0, or another one after an error was told."""
    given = _parser().parse_args(arguments)
    return run_program(
        "sam2-engine",
        lambda: _list(given.engines) if given.command == "list" else _load(given),
        errors=(BuildCancelledError, CheckpointError, TensorRTUnavailableError),
        explain=lambda error: f"cannot read or write{named(error)}: {error.strerror}",
        interrupted="the engines that were finished are kept; the same command goes on from there",
    )


def _load(given: argparse.Namespace) -> None:
    options = EngineOptions(
        objects=given.objects,
        history=given.history,
        precision=given.precision,
        workspace=given.workspace,
        folder=given.engines,
        again="check" if given.command == "check" else "build" if given.anew else "nothing",
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = load_network(given.model, given.checkpoint, given.image_size, device=device)
    _, outcome = load_tensorrt(network, options, rehearse, _say, threading.Event())
    for verdict in outcome.verdicts:
        print(verdict)


def _say(line: str) -> None:
    print(line, flush=True)


def _list(folder: Path) -> None:
    records = EngineCache(folder).records()
    for record in records:
        print(describe(record))
    print(f"{len(records)} engines in {folder}")


def describe(record: EngineRecord) -> str:
    """An engine in one line."""
    key = record.key
    if record.problem:
        state = f"refused: {record.problem}"
    else:
        checked = "not checked yet" if record.error is None else f"passed, off by {record.error:.2%}"
        state = f"{checked}; {record.size / 2**20:.0f} MiB, built in {record.seconds:.0f} s"
    date = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.time))
    return f"{date}  {key.model} {key.bucket} {key.precision}  {state}  [{key.device}]"


def _objects(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        numbers = ()
    if not numbers or numbers[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: numbers from 1 on, as 1,2,4,8")
    return numbers


def _mebibytes(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: MiB, 0 for no limit")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sam2-engine",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="build | check | list")
    build = commands.add_parser("build", help="build what is not built yet, and check it")
    check = commands.add_parser("check", help="check engines again; what fails now is built anew, and higher")
    listing = commands.add_parser("list", help="tell which engines there are, and which were refused and why")
    default = EngineOptions()
    for command in (build, check):
        add_model_options(command)
        command.add_argument(
            "--objects",
            type=_objects,
            default=default.objects,
            metavar="N,N,...",
            help="for so many objects at once; other numbers are padded to the next, or divided "
            f"(default: {','.join(map(str, default.objects))})",
        )
        command.add_argument(
            "--history",
            choices=("full", "buckets"),
            default=default.history,
            help="full: one engine reads a full memory; buckets: shorter ones too, faster at the beginning "
            "(default: %(default)s)",
        )
        command.add_argument(
            "--precision",
            choices=PRECISIONS,
            default=default.precision,
            help="with which to begin (default: %(default)s)",
        )
        command.add_argument(
            "--workspace",
            type=_mebibytes,
            default=default.workspace,
            metavar="MIB",
            help="memory that one layer may use for intermediate results; 512 where memory is short, as on a "
            "Jetson (default: no limit)",
        )
    build.add_argument("--anew", action="store_true", help="build everything again, what was refused too")
    for command in (build, check, listing):
        command.add_argument(
            "--engines",
            type=Path,
            default=cache_folder("engines"),
            metavar="DIR",
            help="where engines are kept (default: %(default)s)",
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
