"""From a camera's pixels to the network's input."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..transfer import upload

_CPU = torch.device("cpu")


def preprocess(image: NDArray[np.uint8], size: int, device: torch.device = _CPU) -> Tensor:
    """Squashes an image to the square input, as the official image predictor does: no letterbox, antialiased.

    Args:
        image: uint8 `[H, W, 3]`, RGB.
        size: S [px].
        device: where it is done, and where the result is; the image goes there as it is.

    Returns:
        float32 `[3, S, S]`, normalised with ImageNet's mean and deviation.
    """
    # In place: the image in float32 is the largest block of a tracker's heap, and one is enough.
    pixels = upload(np.ascontiguousarray(image), device).permute(2, 0, 1).float().div_(255)
    return normalise(F.interpolate(pixels[None], size=(size, size), mode="bilinear", antialias=True)[0])


def normalise(pixels: Tensor) -> Tensor:
    """RGB in 0 to 1, `[..., 3, H, W]`, by ImageNet's mean and deviation."""
    mean, deviation = _statistics(pixels.device)
    return (pixels - mean) / deviation


@cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """ImageNet's mean and deviation of RGB in 0 to 1, `[3, 1, 1]` each; copied to a device only once."""
    with torch.inference_mode(False):  # so that they serve training too
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        return mean.view(3, 1, 1).to(device), deviation.view(3, 1, 1).to(device)
