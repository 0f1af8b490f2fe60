"""Palette images as DAVIS has them: a pixel's value is the id of the object there, 0 for none."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .drawing import object_colour
from .files import replacing

MAX_ID = 255
"""A palette image has this many colours beside the background."""


def write_palette_image(path: Path, labels: NDArray[np.uint8]) -> None:
    """Writes ids, uint8 [H, W], as a PNG in which every object has its colour."""
    image = Image.fromarray(labels)
    image.putpalette(_palette())
    with replacing(path) as temporary:
        image.save(temporary)


@cache
def _palette() -> list[int]:
    colours = [(0, 0, 0), *(object_colour(object_id) for object_id in range(1, MAX_ID + 1))]
    return [channel for colour in colours for channel in colour]
