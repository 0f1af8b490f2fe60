"""Image files as they come from cameras, telephones and annotators; what cannot be read is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

_QUARTER_TURNS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


class ImageFileError(ValueError):
    """An image file that cannot be used, named by its path, with the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        """reason: what the file is."""
        super().__init__(f"{path}: {reason}")
        self.reason = reason


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """An image as uint8 `[H, W, 3]`, RGB, turned upright as its EXIF data say.

    Of 16 bits a channel the upper 8 are kept; an alpha channel is dropped. Raises ImageFileError.
    """
    image = _upright(path)
    if image.mode == "F":
        raise ImageFileError(path, "of floating-point numbers; allowed: 8 or 16 bits a channel")
    if image.mode.startswith("I"):  # grey of 16 bits, which Pillow would clip
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    return np.array(image.convert("RGB"))


def read_mask(path: Path) -> NDArray[np.bool_]:
    """An image as bool `[H, W]`, turned upright: true where it is neither black nor fully transparent.

    Raises ImageFileError.
    """
    image = _upright(path)
    if image.mode.startswith(("I", "F")):
        return np.asarray(image) != 0
    rgba = np.asarray(image.convert("RGBA"))  # of a palette image the colours count, not their numbers
    return np.asarray(rgba[..., :3].any(axis=2) & (rgba[..., 3] > 0))


def read_size(path: Path) -> tuple[int, int]:
    """(H, W) of what `read_rgb` gives; of a JPEG file only the header is read. Raises ImageFileError."""
    with _opened(path) as image:
        if image.format == "JPEG":
            turned = image.getexif().get(ExifTags.Base.Orientation) in _QUARTER_TURNS
            return (image.width, image.height) if turned else (image.height, image.width)
        # Other formats may have their EXIF data at the end.
        image = ImageOps.exif_transpose(image)
        return image.height, image.width


def _upright(path: Path) -> Image.Image:
    with _opened(path) as image:
        return ImageOps.exif_transpose(image)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file that is decoded within the context; what goes wrong there is an ImageFileError."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise ImageFileError(path, "missing") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ImageFileError(path, f"too large; allowed: {limit} pixels") from error
    except (OSError, SyntaxError, ValueError) as error:  # SyntaxError is Pillow's for a damaged PNG
        raise ImageFileError(path, "not a readable image") from error
