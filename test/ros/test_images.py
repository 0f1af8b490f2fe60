"""Pixels of image messages, for every encoding, however their rows lie in memory."""

from __future__ import annotations

import array
import io
import sys

import cv2
import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from PIL import ExifTags
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from sam2_ros.images import (
    ENCODINGS,
    ImageError,
    gray_from_image,
    image_from_array,
    jpeg_from_array,
    rgb_from_compressed,
    rgb_from_image,
)

HEIGHT, WIDTH = 6, 8
PADDING = 5  # [bytes] after each row
# Colours of one pixel each in two blocks: a Bayer or YUV image shows them exactly only where they are even.
RED, TEAL = (200, 40, 60), (20, 150, 120)


def picture() -> NDArray[np.uint8]:
    """Noise, RGB uint8 [H, W, 3]."""
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def message(rows: NDArray[np.uint8], encoding: str, big_endian: bool = False) -> Image:
    """An image message of rows of bytes, uint8 [rows, row bytes], with padding after each row."""
    padded = np.full((rows.shape[0], rows.shape[1] + PADDING), 77, np.uint8)
    padded[:, : rows.shape[1]] = rows
    return Image(
        height=HEIGHT,
        width=WIDTH,
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=padded.shape[1],
        data=array.array("B", padded.tobytes()),
    )


def in_order(rgb: NDArray[np.uint8], order: str) -> NDArray[np.uint8]:
    """Channels in another order, `a` being an alpha that means nothing."""
    planes = {"r": rgb[..., 0], "g": rgb[..., 1], "b": rgb[..., 2], "a": np.full(rgb.shape[:2], 9, np.uint8)}
    return np.stack([planes[name] for name in order], axis=-1)


COLOUR = {"rgb": "rgb", "bgr": "bgr", "rgba": "rgba", "bgra": "bgra", "UC3": "bgr", "UC4": "bgra"}
COLOUR_8 = {(f"8{name}" if "UC" in name else f"{name}8"): order for name, order in COLOUR.items()}
COLOUR_16 = {(f"16{name}" if "UC" in name else f"{name}16"): order for name, order in COLOUR.items()}


@pytest.mark.parametrize(("encoding", "order"), COLOUR_8.items())
def test_colour(encoding: str, order: str) -> None:
    rows = in_order(picture(), order).reshape(HEIGHT, -1)
    assert np.array_equal(rgb_from_image(message(rows, encoding)), picture())


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize(("encoding", "order"), COLOUR_16.items())
def test_deep_colour(encoding: str, order: str, big_endian: bool) -> None:
    low = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, len(order)), np.uint16)
    deep = in_order(picture(), order).astype(np.uint16) * 256 + low
    rows = deep.astype(">u2" if big_endian else "<u2").view(np.uint8).reshape(HEIGHT, -1)
    assert np.array_equal(rgb_from_image(message(rows, encoding, big_endian)), picture())


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey(encoding: str) -> None:
    grey = picture()[..., 0]
    expected = np.repeat(grey[..., None], 3, axis=2)
    assert np.array_equal(rgb_from_image(message(grey, encoding)), expected)
    assert np.array_equal(gray_from_image(message(grey, encoding)), grey)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
def test_deep_grey(encoding: str, big_endian: bool) -> None:
    deep = picture()[..., 0].astype(np.uint16) * 256 + 99
    rows = deep.astype(">u2" if big_endian else "<u2").view(np.uint8)
    expected = np.repeat(picture()[..., :1], 3, axis=2)
    assert np.array_equal(rgb_from_image(message(rows, encoding, big_endian)), expected)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer(pattern: str, bits: int) -> None:
    """A uniform colour seen through the filter of each pattern comes back as that colour."""
    tile = np.array(["rgb".index(name) for name in pattern]).reshape(2, 2)
    mosaic = np.array(RED, np.uint8)[np.tile(tile, (HEIGHT // 2, WIDTH // 2))]
    rows = mosaic if bits == 8 else (mosaic.astype("<u2") * 256).view(np.uint8)
    rgb = rgb_from_image(message(rows, f"bayer_{pattern}{bits}"))
    assert np.array_equal(rgb, np.broadcast_to(np.array(RED, np.uint8), (HEIGHT, WIDTH, 3)))


def luma_and_chroma(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float64], ...]:
    """Y, U, V of ITU-R BT.601 in studio range, which cameras send."""
    r, g, b = np.moveaxis(rgb.astype(float), -1, 0)
    return (
        16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255,
        128 + (-37.797 * r - 74.203 * g + 112.0 * b) / 255,
        128 + (112.0 * r - 93.786 * g - 18.214 * b) / 255,
    )


def two_colours() -> NDArray[np.uint8]:
    """Red on the left, teal on the right, RGB uint8 [H, W, 3]."""
    left = np.arange(WIDTH) < WIDTH // 2
    return np.where(left[None, :, None], RED, TEAL).astype(np.uint8).repeat(HEIGHT, axis=0)


@pytest.mark.parametrize("encoding", ["uyvy", "yuv422", "yuyv", "yuv422_yuy2"])
def test_yuv_by_pairs_of_pixels(encoding: str) -> None:
    y, u, v = (np.rint(plane).astype(np.uint8) for plane in luma_and_chroma(two_colours()))
    chroma = np.where(np.arange(WIDTH) % 2 == 0, u, v)
    pairs = (y, chroma) if encoding in ("yuyv", "yuv422_yuy2") else (chroma, y)
    rows = np.stack(pairs, axis=-1).reshape(HEIGHT, -1)
    rgb = rgb_from_image(message(rows, encoding))
    assert np.abs(rgb.astype(int) - two_colours()).max() <= 3


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_yuv_in_planes(encoding: str) -> None:
    y, u, v = (np.rint(plane).astype(np.uint8) for plane in luma_and_chroma(two_colours()))
    pair = (u, v) if encoding == "nv12" else (v, u)
    chroma = np.stack([plane[::2, ::2] for plane in pair], axis=-1).reshape(HEIGHT // 2, -1)
    rgb = rgb_from_image(message(np.concatenate([y, chroma]), encoding))
    assert np.abs(rgb.astype(int) - two_colours()).max() <= 3


def test_rgb_is_not_copied() -> None:
    image = image_from_array(picture(), "rgb8", Header())
    assert np.shares_memory(rgb_from_image(image), np.frombuffer(image.data, np.uint8))


def test_an_array_becomes_an_image_and_back() -> None:
    header = Header(frame_id="camera")
    header.stamp.sec = 7
    image = image_from_array(picture(), "rgb8", header)
    assert (image.header, image.height, image.width, image.step) == (header, HEIGHT, WIDTH, 3 * WIDTH)
    assert image.is_bigendian == (sys.byteorder == "big")
    assert np.array_equal(rgb_from_image(image), picture())
    mirrored = image_from_array(picture()[:, ::-1], "rgb8", header)
    assert np.array_equal(rgb_from_image(mirrored), picture()[:, ::-1])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_refuses_too_little_data(encoding: str) -> None:
    image = message(np.zeros((HEIGHT * 3 // 2, WIDTH * 8), np.uint8), encoding)
    rgb_from_image(image)
    image.data = image.data[: image.step * (HEIGHT - 1)]
    with pytest.raises(ImageError, match="data is truncated"):
        rgb_from_image(image)
    image.step = WIDTH - 1
    with pytest.raises(ImageError, match="step 7 is smaller than a row"):
        rgb_from_image(image)
    image.height = 0
    with pytest.raises(ImageError, match="the image is empty"):
        rgb_from_image(image)


def test_unknown_encodings_are_named() -> None:
    with pytest.raises(ImageError, match="encoding '32FC1' is unknown; allowed are rgb8"):
        rgb_from_image(message(np.zeros((HEIGHT, 4 * WIDTH), np.uint8), "32FC1"))


@pytest.mark.parametrize(("encoding", "size"), [("yuyv", (4, 3)), ("nv12", (3, 4)), ("bayer_rggb8", (1, 8))])
def test_sizes_that_an_encoding_cannot_have(encoding: str, size: tuple[int, int]) -> None:
    image = message(np.zeros((HEIGHT * 2, WIDTH * 2), np.uint8), encoding)
    image.height, image.width = size
    with pytest.raises(ImageError, match=rf"{encoding} image must be"):
        rgb_from_image(image)


def smooth() -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:64, :96]
    return np.stack([2 * rows, 2 * columns, 255 - 2 * rows], axis=-1).astype(np.uint8)


def test_jpeg_and_back() -> None:
    rgb = rgb_from_compressed(jpeg_from_array(smooth(), 95, Header()))
    assert np.abs(rgb.astype(int) - smooth()).max() < 12


@pytest.mark.parametrize("padding", [63, 4096, 100_000])
def test_jpeg_in_a_larger_buffer(padding: int) -> None:
    image = jpeg_from_array(smooth(), 95, Header())
    expected = rgb_from_compressed(image)
    image.data = array.array("B", image.data.tobytes() + bytes(padding))
    assert np.array_equal(rgb_from_compressed(image), expected)
    image.data = array.array("B", image.data.tobytes()[: -padding - 2] + bytes(padding))
    with pytest.raises(ImageError, match="data of the JPEG image is truncated"):
        rgb_from_compressed(image)


def test_png() -> None:
    _, encoded = cv2.imencode(".png", smooth()[..., ::-1])
    image = CompressedImage(format="png", data=array.array("B", encoded.tobytes()))
    assert np.array_equal(rgb_from_compressed(image), smooth())


def test_a_camera_that_lies_on_its_side_gives_the_pixels_as_they_are_stored() -> None:
    file = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    PIL.Image.fromarray(smooth()).save(file, "jpeg", exif=exif)
    image = CompressedImage(format="jpeg", data=array.array("B", file.getvalue()))
    assert rgb_from_compressed(image).shape == smooth().shape
    assert np.abs(rgb_from_compressed(image).astype(int) - smooth()).max() < 12


@pytest.mark.parametrize(
    ("extension", "keep", "reason"),
    [
        (".jpg", 0.0, "is empty"),
        (".jpg", 0.7, "data of the JPEG image is truncated"),
        (".png", 0.01, "cannot be decoded"),
    ],
)
def test_compressed_images_cut_short(extension: str, keep: float, reason: str) -> None:
    _, encoded = cv2.imencode(extension, smooth())
    data = encoded.tobytes()[: int(keep * len(encoded))]
    with pytest.raises(ImageError, match=reason):
        rgb_from_compressed(CompressedImage(format=extension[1:], data=array.array("B", data)))


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ImageError, match="cannot be decoded"):
        rgb_from_compressed(CompressedImage(format="jpeg", data=array.array("B", b"not an image")))
