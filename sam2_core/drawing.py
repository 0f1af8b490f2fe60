"""Masks, ids, labels and visibility drawn on images, for RViz, videos and contact sheets."""

from __future__ import annotations

import colorsys
import contextlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

_PALETTE: tuple[Colour, ...] = (
    (255, 99, 64),
    (38, 170, 255),
    (255, 200, 20),
    (168, 104, 255),
    (20, 214, 146),
    (255, 88, 172),
    (150, 214, 40),
    (0, 206, 220),
)
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_GOLDEN_RATIO = 0.618034  # steps of it round the colour circle never come close to an earlier hue soon


class Drawable(Protocol):
    """What is drawn of one object; sam2_core.tracking.ObjectResult is one."""

    @property
    def id(self) -> int: ...
    @property
    def label(self) -> str: ...
    @property
    def mask(self) -> np.ndarray: ...  # bool [H, W]
    @property
    def visible(self) -> bool: ...


def object_colour(object_id: int) -> Colour:
    """The RGB colour, 0 to 255, that an object has in every picture; ids count from 1."""
    index = object_id - 1
    if index < len(_PALETTE):
        return _PALETTE[index]
    red, green, blue = colorsys.hsv_to_rgb((index * _GOLDEN_RATIO) % 1.0, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def object_title(object_id: int, label: str) -> str:
    """How an object is named in pictures and tables: `2 mug`, or `2` without a label."""
    return f"{object_id} {label}".rstrip()


def draw_overlay(rgb: np.ndarray, objects: Sequence[Drawable], opacity: float = 0.45) -> np.ndarray:
    """A copy of an image with every visible object filled, outlined and tagged in its colour.

    rgb: uint8 [H, W, 3]. Objects that are not visible are listed in the bottom left corner.
    Returns uint8 [H, W, 3]. Raises ValueError for a mask of another size than the image.
    """
    canvas = np.array(rgb)
    height, width = canvas.shape[:2]
    font_size = max(13, round(height / 32))
    thickness = max(1, round(min(height, width) / 240))
    hidden_bottom = height - font_size // 3
    tags: list[tuple[np.ndarray, int, int]] = []  # drawn last, so that no mask covers them
    for item in objects:
        if item.mask.shape != (height, width):
            raise ValueError(f"mask of object {item.id} is {item.mask.shape}; the image is {(height, width)}")
        colour = object_colour(item.id)
        title = object_title(item.id, item.label)
        if not item.visible:
            tag = _tag(f"{title} - not visible", colour, font_size, filled=False)
            hidden_bottom -= tag.shape[0]
            tags.append((tag, hidden_bottom, font_size // 3))
            hidden_bottom -= font_size // 4
        elif item.mask.any():
            top, left = _fill(canvas, item.mask, colour, opacity, thickness)
            tag = _tag(title, colour, font_size, filled=True)
            tags.append((tag, top - tag.shape[0] - thickness, left))
    for tag, top, left in tags:
        _paste(canvas, tag, top, left)
    return canvas


def draw_click(canvas: np.ndarray, x: float, y: float, object_id: int, positive: bool = True) -> None:
    """Marks, in place, where an object was clicked, or with a black centre where it is not.

    canvas: uint8 [H, W, 3]; x, y: [px].
    """
    height, width = canvas.shape[:2]
    radius = max(3.0, min(height, width) / 70)
    rows, columns = np.ogrid[:height, :width]
    distance = np.hypot(rows + 0.5 - y, columns + 0.5 - x)
    rings = [
        (radius + 3, (0, 0, 0)),
        (radius + 2, (255, 255, 255)),
        (radius, object_colour(object_id)),
    ]
    if not positive:
        rings.append((0.6 * radius, (0, 0, 0)))
    for outer, colour in rings:
        canvas[distance <= outer] = colour


def draw_text(
    canvas: Image.Image,
    position: tuple[float, float],
    text: str,
    size: int,
    colour: Colour,
    anchor: str = "la",
) -> None:
    """Writes one line; anchor as Pillow has it (`la` left top, `lm` left middle, `rm` right middle...)."""
    ImageDraw.Draw(canvas).text(position, text, font=_font(size), fill=colour, anchor=anchor)


def _fill(
    canvas: np.ndarray, mask: np.ndarray, colour: Colour, opacity: float, thickness: int
) -> tuple[int, int]:
    """Blends a mask that is not empty into the canvas; returns the top and left of its bounding box."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    inside = np.ascontiguousarray(mask[top:bottom, left:right]).view(np.uint8)
    region = canvas[top:bottom, left:right]
    paint = np.full_like(region, colour)
    # Outside the box is background, so that the outline also runs along the image's border.
    core = cv2.erode(inside, _CROSS, iterations=thickness, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    cv2.copyTo(paint, inside - core, region)
    cv2.copyTo(cv2.addWeighted(region, 1.0 - opacity, paint, opacity, 0.0), core, region)
    return int(top), int(left)


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1, as in Debian 12 and Ubuntu 22.04, brings no font that scales
        with contextlib.suppress(OSError):
            return ImageFont.truetype("DejaVuSans.ttf", size)
        return ImageFont.load_default()


@lru_cache(maxsize=256)
def _tag(text: str, colour: Colour, font_size: int, filled: bool) -> np.ndarray:
    """A name plate as uint8 [h, w, 4]: on the object's colour, or outlined in it over dark."""
    padding = font_size // 3
    width = round(_font(font_size).getlength(text)) + 2 * padding
    plate = Image.new("RGBA", (width, font_size + padding))
    dark = (16, 18, 24)
    ImageDraw.Draw(plate).rounded_rectangle(
        (0, 0, width - 1, font_size + padding - 1),
        radius=padding,
        fill=(*colour, 255) if filled else (*dark, 200),
        outline=(*colour, 255),
    )
    draw_text(plate, (width / 2, plate.height / 2), text, font_size, dark if filled else colour, anchor="mm")
    return np.asarray(plate)


def _paste(canvas: np.ndarray, tag: np.ndarray, top: int, left: int) -> None:
    """Blends a tag into the canvas, moved to lie inside it, cut where the canvas is too small."""
    height, width = canvas.shape[:2]
    top = max(0, min(top, height - tag.shape[0]))
    left = max(0, min(left, width - tag.shape[1]))
    tag = tag[: height - top, : width - left]
    region = canvas[top : top + tag.shape[0], left : left + tag.shape[1]]
    alpha = tag[..., 3:].astype(np.float32) / 255.0
    region[:] = (region * (1.0 - alpha) + tag[..., :3] * alpha).astype(np.uint8)
