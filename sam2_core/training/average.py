"""Averages models: ``python -m sam2_core.training.average --of FILE SHARE --of FILE SHARE --to FILE``.

Models that grew from the same weights can be averaged. The average of several runs is often better than each
of them (model soups, arXiv 2203.05482); that of a model and its fine-tuned self learns the new without losing
the old (WiSE-FT, arXiv 2109.01903).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sam2_core.model import read_checkpoint
from sam2_core.model.checkpoint import check_state
from sam2_core.training.export import write_half


def average_weights(models: Sequence[tuple[Mapping[str, Tensor], float]]) -> dict[str, Tensor]:
    """The sum of the models' weights, each times its share, in float32; names and shapes are the same."""
    (first, _), *_ = models
    with torch.no_grad():
        return {
            name: torch.stack([share * state[name].float() for state, share in models]).sum(dim=0)
            for name in first
        }


def average(parts: Sequence[tuple[Path, float]], target: Path) -> None:
    """Write the average of checkpoints in half precision, as .safetensors.

    Args:
        parts: the files with their shares, which are above 0 and add up to 1.

    Raises:
        ValueError: a share is not above 0, or they do not add up to 1.
        CheckpointError: a file cannot be read, or has other tensors than the first.
    """
    total = sum(share for _, share in parts)
    if min(share for _, share in parts) <= 0 or abs(total - 1) > 1e-6:
        shares = ", ".join(str(share) for _, share in parts)
        raise ValueError(f"shares {shares} add up to {total:g}; allowed: shares above 0 that add up to 1")
    checkpoints = [read_checkpoint(path) for path, _ in parts]
    for checkpoint in checkpoints[1:]:
        check_state(checkpoint, checkpoints[0].state)
    models = [(c.state, share) for c, (_, share) in zip(checkpoints, parts, strict=True)]
    write_half(average_weights(models), target)


def main() -> None:
    """Average the weights of models that grew from the same ones."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--of", nargs=2, action="append", required=True, metavar=("FILE", "SHARE"), help="once for each model"
    )
    parser.add_argument("--to", type=Path, required=True, help="file to write, .safetensors")
    options = parser.parse_args()
    try:
        average([(Path(file), float(share)) for file, share in options.of], options.to)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
