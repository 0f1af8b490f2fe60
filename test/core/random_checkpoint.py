"""A checkpoint of the small model with seeded random weights, for tools that load one."""

from __future__ import annotations

from pathlib import Path

from random_weights import random_network
from safetensors.torch import save_file


def write_random_checkpoint(path: Path) -> Path:
    """Writes a `.safetensors` file of `sam2_pico`."""
    save_file(random_network("sam2_pico", 256).state_dict(), path)
    return path
