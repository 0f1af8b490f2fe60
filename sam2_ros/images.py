"""Pixels in and out of `sensor_msgs/Image` and `CompressedImage`, without cv_bridge."""

from __future__ import annotations

import array
import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from sam2_core.image_encodings import (
    ENCODINGS,
    ImageError,
    Pixels,
    gray_from_image,
    rgb_from_compressed,
    rgb_from_image,
)

__all__ = [
    "ENCODINGS",
    "ImageError",
    "Pixels",
    "gray_from_image",
    "image_from_array",
    "jpeg_from_array",
    "rgb_from_compressed",
    "rgb_from_image",
]

_BIG_ENDIAN_HOST = sys.byteorder == "big"


def image_from_array(pixels: NDArray[Any], encoding: str, header: Header) -> Image:
    """An image message of uint8 or uint16 pixels [H, W] or [H, W, channels] in a given encoding."""
    pixels = np.ascontiguousarray(pixels)
    # Any other type than array.array('B') is checked byte by byte: 300 ms for a 720p image.
    data = array.array("B")
    data.frombytes(pixels.data.cast("B"))
    return Image(
        header=header,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(_BIG_ENDIAN_HOST),
        step=pixels.strides[0],
        data=data,
    )


def jpeg_from_array(rgb: Pixels, quality: int, header: Header) -> CompressedImage:
    """A JPEG message of RGB pixels, uint8 [H, W, 3]; quality 1 to 100."""
    _, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, quality)
    )
    return CompressedImage(
        header=header, format="rgb8; jpeg compressed bgr8", data=array.array("B", encoded.tobytes())
    )
