"""In which numbers the heavy stages are computed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import torch

from .config import Sam2Config

Precision = Literal["float32", "bfloat16"]

PRECISIONS = ("auto", "float32", "bfloat16")
"""What a user may ask for."""
_BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}


def choose_precision(
    asked: str, config: Sam2Config, device: str, cpuinfo: Path = Path("/proc/cpuinfo")
) -> Precision:
    """What a user's choice means for a model on a device.

    Args:
        asked: one of `PRECISIONS`; `auto` is bfloat16 on a GPU that multiplies it (compute capability 8 and
            more) and on a CPU that does (AMX or AVX-512 BF16), for a model whose masks stay as they are, and
            float32 everywhere else.
        config: the model.
        device: where the network will run, as torch names it.
        cpuinfo: how Linux describes the processor.

    Raises:
        ValueError: the choice is none of `PRECISIONS`.
    """
    if asked not in PRECISIONS:
        raise ValueError(f"precision {asked!r} is unknown; allowed: {', '.join(PRECISIONS)}")
    if asked != "auto":
        return "bfloat16" if asked == "bfloat16" else "float32"
    return "bfloat16" if config.tolerates_bfloat16 and multiplies_bfloat16(device, cpuinfo) else "float32"


def multiplies_bfloat16(device: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether a device multiplies bfloat16 itself, instead of by way of float32, which is slower than that.

    Args:
        device: as torch names it.
        cpuinfo: how Linux describes the processor.
    """
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)
    flags = cpuinfo.read_text().split() if device == "cpu" and cpuinfo.is_file() else []
    return bool(_BFLOAT16_FLAGS & set(flags))


@cache
def fuses_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether PyTorch's fused attention on this CPU is fast in bfloat16, as it is with tiles (AMX) only.

    Without them its products are computed as slowly as in float32, though matrix products by themselves are
    two to three times as fast (PyTorch 2.13 on Zen 4).
    """
    return cpuinfo.is_file() and "amx_bf16" in cpuinfo.read_text().split()
