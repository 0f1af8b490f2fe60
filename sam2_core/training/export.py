"""Writes the weights of a run for inference: ``python -m sam2_core.training.export --run DIR --to FILE``."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file


def export(run: Path, target: Path) -> None:
    """Write the moving average of a run's weights in half precision, as .safetensors."""
    average = torch.load(run / "checkpoint.pt", weights_only=True)["average"]
    prefix = "module."
    weights = {
        name.removeprefix(prefix): value.half().contiguous()
        for name, value in average.items()
        if name.startswith(prefix)
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, target)


def main() -> None:
    """Write the weights of a training run for inference."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--to", type=Path, required=True, help="file to write, .safetensors")
    options = parser.parse_args()
    export(options.run, options.to)


if __name__ == "__main__":
    main()
