"""Where automatic mask generation looks: overlapping crops, and a grid of points in each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from .options import AutomaticOptions


@dataclass(frozen=True, eq=False)
class Crop:
    """One part of the image and the points to prompt in it."""

    box: tuple[int, int, int, int]
    """x0, y0, x1, y1 [px of the image]; x1 and y1 lie just outside."""
    points: NDArray[np.float32]
    """float32 `[P, 2]`, (x, y) in pixels of the crop."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the crop."""
        x0, y0, x1, y1 = self.box
        return y1 - y0, x1 - x0


def plan(size: tuple[int, int], options: AutomaticOptions) -> list[Crop]:
    """The crops of an image of `size` (H, W): the whole image, then the crops of each layer."""
    height, width = size
    crops = [_crop((0, 0, width, height), options.points_per_side)]
    for layer in range(1, options.crop_layers + 1):
        count = 2**layer
        overlap = int(options.crop_overlap * min(size) * (2 / count))
        across, down = (math.ceil((overlap * (count - 1) + side) / count) for side in (width, height))
        per_side = int(options.points_per_side / options.crop_points_divisor**layer)
        for column, row in product(range(count), range(count)):
            x0, y0 = (across - overlap) * column, (down - overlap) * row
            crops.append(_crop((x0, y0, min(x0 + across, width), min(y0 + down, height)), per_side))
    return crops


def _crop(box: tuple[int, int, int, int], per_side: int) -> Crop:
    """A crop with the centres of `per_side` x `per_side` equal cells as points, row by row."""
    x0, y0, x1, y1 = box
    centres = np.linspace(1 / (2 * per_side), 1 - 1 / (2 * per_side), per_side)
    x, y = np.meshgrid(centres, centres)
    points = np.stack([x.ravel(), y.ravel()], axis=1) * [x1 - x0, y1 - y0]
    return Crop(box, points.astype(np.float32))
