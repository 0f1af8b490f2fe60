"""Writes a run's weights half as large: ``python -m sam2_core.training.export --run DIR --to FILE``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


def averaged_weights(average: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights in the state of a moving average, under the names of the network."""
    prefix = "module."
    return {
        name.removeprefix(prefix): value.contiguous()
        for name, value in average.items()
        if name.startswith(prefix)
    }


def write_half(weights: Mapping[str, Tensor], target: Path) -> None:
    """Write weights in half precision, as .safetensors."""
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.half() for name, value in weights.items()}, target)


def export(run: Path, target: Path) -> None:
    """Write the moving average of a run's weights in half precision, as .safetensors."""
    average = torch.load(run / "checkpoint.pt", weights_only=True, map_location="cpu")["average"]
    write_half(averaged_weights(average), target)


def main() -> None:
    """Write the weights of a training run in half precision."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--to", type=Path, required=True, help="file to write, .safetensors")
    options = parser.parse_args()
    export(options.run, options.to)


if __name__ == "__main__":
    main()
