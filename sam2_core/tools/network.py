"""The options by which every tool is told its network."""

from __future__ import annotations

import argparse
import sys
import zlib

import torch

from ..backends.choose import BACKENDS, PROVIDERS, BackendOptions, LoadedBackend, load_backend
from ..model import PRECISIONS, Sam2Network
from ..tracking.rehearsal import rehearse


def add_model_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Adds --model, --checkpoint and --image-size; returns their group."""
    options = parser.add_argument_group("the network")
    options.add_argument("--model", default="", metavar="NAME", help="model (default: the checkpoint's own)")
    options.add_argument(
        "--checkpoint", default="", metavar="FILE", help="weights (default: those of the package)"
    )
    options.add_argument("--image-size", type=int, metavar="PX", help="its input (default: the model's own)")
    return options


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Adds --model, --checkpoint, --image-size, --device and --precision."""
    options = add_model_options(parser)
    options.add_argument(
        "--device",
        type=_device,
        default="cuda" if torch.cuda.is_available() else "cpu",
        choices=("cpu", "cuda"),
        help="where it runs (default: %(default)s here)",
    )
    options.add_argument(
        "--precision",
        default="auto",
        choices=PRECISIONS,
        help="auto: bfloat16 for the released models on CPUs that multiply it, else float32 (default: auto)",
    )


def _device(name: str) -> str:
    if name == "cuda" and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError("'cuda', but PyTorch finds no GPU here; allowed: cpu")
    return name


def add_backend_options(parser: argparse.ArgumentParser) -> None:
    """Adds --backend, --exported and --provider, for tools that track."""
    options = parser.add_argument_group("what runs the network")
    options.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="auto: the fastest that is ready; one that does not work here gives way (default: auto)",
    )
    options.add_argument(
        "--exported",
        default="",
        metavar="DIR",
        help="what sam2-export wrote (default: --backend onnxruntime exports by itself, once)",
    )
    options.add_argument(
        "--provider", choices=PROVIDERS, default="auto", help="of ONNX Runtime (default: the device's)"
    )


def add_correction_option(parser: argparse.ArgumentParser) -> None:
    """Adds --lasting-corrections, for tools in which tracked objects are corrected."""
    parser.add_argument(
        "--lasting-corrections",
        action="store_true",
        help="corrected frames are read for good, as in the training of Meta's models (default: for six "
        "frames, as Meta's predictor does)",
    )


def load_given_backend(given: argparse.Namespace, quiet: bool = False) -> LoadedBackend:
    """The network of the options and what runs it; without `quiet`, says on stderr what that is.

    Raises CheckpointError.
    """

    def tell(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr)

    options = BackendOptions(
        backend=given.backend,
        model=given.model,
        checkpoint=given.checkpoint,
        image_size=given.image_size,
        precision=given.precision,
        device=given.device,
        exported=given.exported,
        provider=given.provider,
    )
    loaded = load_backend(options, tell, rehearse)
    tell(f"the network runs in {loaded.name}: {loaded.reason}")
    return loaded


def describe_network(network: Sam2Network) -> str:
    """The model, its input size [px] and a checksum of its weights: the same for networks that agree."""
    checksum = 0
    for value in network.state_dict().values():
        checksum = zlib.crc32(value.float().cpu().numpy().tobytes(), checksum)
    return f"{network.config.name} at {network.config.image_size} px, weights {checksum:08x}"
