"""From a camera's pixels to the network's input."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
_DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
"""ImageNet statistics of RGB in 0 to 1."""


def preprocess(image: NDArray[np.uint8], size: int) -> Tensor:
    """Squashes an image to the square input, as the official predictor does: no letterbox, antialiased.

    Args:
        image: uint8 `[H, W, 3]`, RGB.
        size: S [px].

    Returns:
        float32 `[3, S, S]`, normalised with ImageNet's mean and deviation.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
    return normalise(F.interpolate(pixels[None], size=(size, size), mode="bilinear", antialias=True)[0])


def normalise(pixels: Tensor) -> Tensor:
    """RGB in 0 to 1, `[..., 3, H, W]`, by ImageNet's mean and deviation."""
    return (pixels - _MEAN.to(pixels.device)) / _DEVIATION.to(pixels.device)
