"""The pixels of images as ROS carries them, from whatever has a message's fields; without ROS itself.

Encodings are those of sensor_msgs/image_encodings.hpp. OpenCV's element types count as OpenCV means them:
8UC3 is BGR, 8UC1 is grey. 16-bit images keep their upper 8 bits, which is all that the network uses.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


class RawImage(Protocol):
    """The fields of `sensor_msgs/Image` that say what its pixels are."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


class EncodedImage(Protocol):
    """The fields of `sensor_msgs/CompressedImage` that say what its pixels are."""

    format: str
    data: Any


class ImageError(ValueError):
    """An image message that cannot be read; the text names the field, its value and what is allowed."""


class _Layout(NamedTuple):
    """How an encoding lies in memory: H rows of W pixels, and how OpenCV makes RGB of them."""

    channels: int
    bits: int
    to_rgb: int | None  # an OpenCV colour conversion of 8-bit pixels; None: they are RGB


# OpenCV names a Bayer pattern after the second pixel of its second row, ROS after the first of its first.
_RGGB, _BGGR = cv2.COLOR_BayerBG2RGB, cv2.COLOR_BayerRG2RGB
_GBRG, _GRBG = cv2.COLOR_BayerGR2RGB, cv2.COLOR_BayerGB2RGB
_BGR, _RGBA, _BGRA, _GRAY = cv2.COLOR_BGR2RGB, cv2.COLOR_RGBA2RGB, cv2.COLOR_BGRA2RGB, cv2.COLOR_GRAY2RGB
_UYVY, _YUYV = cv2.COLOR_YUV2RGB_UYVY, cv2.COLOR_YUV2RGB_YUYV

_LAYOUTS = {
    "rgb8": _Layout(3, 8, None), "rgb16": _Layout(3, 16, None),
    "bgr8": _Layout(3, 8, _BGR), "bgr16": _Layout(3, 16, _BGR),
    "rgba8": _Layout(4, 8, _RGBA), "rgba16": _Layout(4, 16, _RGBA),
    "bgra8": _Layout(4, 8, _BGRA), "bgra16": _Layout(4, 16, _BGRA),
    "mono8": _Layout(1, 8, _GRAY), "mono16": _Layout(1, 16, _GRAY),
    "8UC1": _Layout(1, 8, _GRAY), "16UC1": _Layout(1, 16, _GRAY),
    "8UC3": _Layout(3, 8, _BGR), "16UC3": _Layout(3, 16, _BGR),
    "8UC4": _Layout(4, 8, _BGRA), "16UC4": _Layout(4, 16, _BGRA),
    "bayer_rggb8": _Layout(1, 8, _RGGB), "bayer_rggb16": _Layout(1, 16, _RGGB),
    "bayer_bggr8": _Layout(1, 8, _BGGR), "bayer_bggr16": _Layout(1, 16, _BGGR),
    "bayer_gbrg8": _Layout(1, 8, _GBRG), "bayer_gbrg16": _Layout(1, 16, _GBRG),
    "bayer_grbg8": _Layout(1, 8, _GRBG), "bayer_grbg16": _Layout(1, 16, _GRBG),
    "uyvy": _Layout(2, 8, _UYVY), "yuv422": _Layout(2, 8, _UYVY),
    "yuyv": _Layout(2, 8, _YUYV), "yuv422_yuy2": _Layout(2, 8, _YUYV),
}  # fmt: skip

# A plane of luminance, then one of half the rows with the two chrominances side by side.
_PLANAR = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}

ENCODINGS = (*_LAYOUTS, *_PLANAR)


def rgb_from_image(message: RawImage) -> Pixels:
    """The pixels of an image message as RGB, uint8 [H, W, 3].

    For rgb8 they are a view of the message's own data, whose rows may be padded; otherwise a new array.
    Raises ImageError for an unknown encoding, an empty image, a step smaller than a row, too little data.
    """
    if message.encoding in _PLANAR:
        return _rgb_from_planar(message)
    layout = _LAYOUTS.get(message.encoding)
    if layout is None:
        raise ImageError(f"encoding '{message.encoding}' is unknown; allowed are {', '.join(ENCODINGS)}")

    pixels = _view(message, message.height, layout.channels, layout.bits // 8)
    if layout.bits == 16:
        pixels = (pixels >> 8).astype(np.uint8)
    if layout.to_rgb is None:
        return pixels
    if layout.to_rgb in (_UYVY, _YUYV) and message.width % 2:
        raise ImageError(f"width {message.width} of a {message.encoding} image must be even")
    if layout.to_rgb in (_RGGB, _BGGR, _GBRG, _GRBG) and (message.width < 2 or message.height < 2):
        raise ImageError(
            f"size {message.width}x{message.height} of a {message.encoding} image must be 2x2 at least"
        )
    # OpenCV reads padded rows, but wants the one channel of a grey image without its axis.
    return _converted(pixels[..., 0] if layout.channels == 1 else pixels, layout.to_rgb)


def rgb_from_compressed(message: EncodedImage) -> Pixels:
    """The pixels of a JPEG, PNG or other compressed image as RGB, uint8 [H, W, 3].

    They lie as they are stored, whatever an EXIF orientation says: so does everyone else see them, and
    camera_info is of that size.

    Raises ImageError for no data, data that is not an image, and an image cut short.
    """
    data = np.frombuffer(message.data, np.uint8)
    if data.size == 0:
        raise ImageError(f"data of the compressed image ('{message.format}') is empty")
    # The decoder fills the missing rest of a JPEG with grey and succeeds: ask for the end marker first.
    if data[:2].tobytes() == b"\xff\xd8" and b"\xff\xd9" not in _end(data):
        raise ImageError(f"data of the JPEG image is truncated: {data.size} bytes without an end marker")
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        raise ImageError(
            f"data of the compressed image ('{message.format}', {data.size} bytes) cannot be decoded"
        )
    return _converted(bgr, cv2.COLOR_BGR2RGB)


def gray_from_image(message: RawImage) -> Pixels:
    """The pixels of a mono8 or 8UC1 image, uint8 [H, W], a view of its data. Raises ImageError."""
    if message.encoding not in ("mono8", "8UC1"):
        raise ImageError(f"encoding '{message.encoding}' of a mask is not allowed; mono8 is expected")
    return _view(message, message.height, 1, 1)[..., 0]


def _rgb_from_planar(message: RawImage) -> Pixels:
    if message.height % 2 or message.width % 2:
        raise ImageError(
            f"size {message.width}x{message.height} of a {message.encoding} image must be even both ways"
        )
    planes = _view(message, message.height * 3 // 2, 1, 1)[..., 0]
    return _converted(planes, _PLANAR[message.encoding])


def _end(data: Pixels) -> bytes:
    """The last 64 bytes before the zeros that fill a camera's buffer up, or fewer."""
    block = 4096  # so that neither an image nor its padding is copied whole
    end = data.size
    while end > block and not data[end - block : end].any():
        end -= block
    return data[max(end - 2 * block, 0) : end].tobytes().rstrip(b"\0")[-64:]


def _converted(pixels: NDArray[Any], conversion: int) -> Pixels:
    return np.asarray(cv2.cvtColor(pixels, conversion), np.uint8)


def _view(message: RawImage, rows: int, channels: int, item_bytes: int) -> NDArray[Any]:
    """A message's data as [rows, W, channels] without a copy, after checking that it is all there."""
    if message.height == 0 or message.width == 0:
        raise ImageError(f"the image is empty: width {message.width}, height {message.height}")
    pixel_bytes = channels * item_bytes
    row_bytes = message.width * pixel_bytes
    if message.step < row_bytes:
        raise ImageError(
            f"step {message.step} is smaller than a row: "
            f"{message.width} pixels of {message.encoding} take {row_bytes} bytes"
        )
    needed = message.step * (rows - 1) + row_bytes  # the last row need not be padded
    if len(message.data) < needed:
        raise ImageError(
            f"data is truncated: {len(message.data)} bytes, "
            f"{rows} rows of step {message.step} take {message.step * rows}"
        )
    order = ">" if message.is_bigendian else "<"
    return np.ndarray(
        (rows, message.width, channels),
        np.dtype(f"{order}u{item_bytes}"),
        buffer=message.data,
        strides=(message.step, pixel_bytes, item_bytes),
    )
