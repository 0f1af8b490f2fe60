"""`sam2-model`: what a checkpoint is, and the same checkpoint in another layout."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..model import Checkpoint, CheckpointError, find_checkpoint, write_checkpoint

_DESCRIPTION = """\
Looks at checkpoints of SAM 2 and SAM 2.1 and converts them.

Readable: Meta's .pt files, Hugging Face's .safetensors files, and Hugging Face's folders with config.json and
model.safetensors. The kind and the model are recognised from the contents.
"""
_EXAMPLES = """\
examples:
  sam2-model info sam2.1_hiera_tiny.pt
  sam2-model convert sam2.1_hiera_tiny.pt sam2.1-hiera-tiny/            (Hugging Face folder)
  sam2-model convert sam2.1-hiera-tiny/model.safetensors tiny.pt        (Meta)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status: 0, or 1 after an error was told."""
    given = _parser().parse_args(arguments)
    try:
        checkpoint = find_checkpoint(checkpoint=given.checkpoint)
        if given.command == "convert":
            write_checkpoint(checkpoint, given.output)
            print(f"{given.checkpoint} -> {given.output}")
        else:
            print(summary(checkpoint))
    except CheckpointError as error:
        print(f"sam2-model: {error}", file=sys.stderr)
        return 1
    return 0


def summary(checkpoint: Checkpoint) -> str:
    """What a checkpoint is, one fact a line."""
    config = checkpoint.config
    if checkpoint.images_only:
        generation = "SAM 2 or 2.1: their image halves are the same network"
        use = "images only; it has no memory, so videos cannot be tracked with it"
    else:
        generation, use = f"SAM {config.generation.removesuffix('.0')}", "images and videos"
    size = sum(value.nbytes for value in checkpoint.state.values())
    kinds = sorted({str(value.dtype).removeprefix("torch.") for value in checkpoint.state.values()})
    facts = {
        "file": checkpoint.path,
        "kind": checkpoint.kind,
        "model": config.name,
        "generation": generation,
        "usable for": use,
        "parameters": f"{checkpoint.parameters:,}",
        "tensors": f"{len(checkpoint.state)} of {', '.join(kinds)}, {size / 2**20:.1f} MiB",
        "input size": f"{config.image_size} x {config.image_size} px",
        "image embedding": f"{config.hidden_dim} channels, {config.embedding_size} x {config.embedding_size}",
        "memories": "none"
        if checkpoint.images_only
        else f"{config.memory_dim} channels, {config.recent_memories} recent frames, "
        f"{config.max_pointers} object pointers",
        "fingerprint": f"sha256:{checkpoint.fingerprint}",
    }
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sam2-model",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="info | convert")
    info = commands.add_parser("info", help="tell what a checkpoint is, how large, and its fingerprint")
    convert = commands.add_parser("convert", help="write a checkpoint in another layout")
    for command in (info, convert):
        command.add_argument("checkpoint", type=Path, metavar="FILE", help="checkpoint file or folder")
    convert.add_argument(
        "output", type=Path, metavar="OUT", help="NAME.pt, NAME.safetensors, or a folder to be made"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
