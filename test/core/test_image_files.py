"""Pictures are read as they are meant to be seen; what cannot be read is named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from sam2_core.image_files import ImageFileError, read_rgb, read_size

RAMP = np.linspace(0, 65535, 50 * 100).reshape(50, 100).astype(np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_of_16_bits_the_upper_8_are_kept(tmp_path: Path, suffix: str, channels: int) -> None:
    pixels = np.dstack([np.roll(RAMP, 7 * channel, axis=0) for channel in range(channels)])
    path = tmp_path / f"ramp{suffix}"
    cv2.imwrite(str(path), pixels)
    assert np.array_equal(read_rgb(path), np.broadcast_to(pixels[..., ::-1] >> 8, (50, 100, 3)))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_and_sizes_are_turned_alike(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"turned{suffix}"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(np.zeros((40, 80, 3), np.uint8)).save(path, exif=exif)
    expected = (80, 40) if orientation > 4 else (40, 80)  # CIPA DC-008: from 5 on they are quarter turns
    assert read_rgb(path).shape == (*expected, 3)
    assert read_size(path) == expected


def test_each_unusable_file_is_named_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    with pytest.raises(ImageFileError, match=r"picture\.png: missing"):
        read_rgb(path)
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    second = whole.index(b"IDAT", whole.index(b"IDAT") + 4)
    for damaged in (b"", whole[: len(whole) // 2], whole[:second] + b"\0\1\2\3" + whole[second + 4 :]):
        path.write_bytes(damaged)
        with pytest.raises(ImageFileError, match=r"picture\.png: not a readable image"):
            read_rgb(path)
    Image.new("1", (20000, 20000)).save(path)
    with pytest.raises(ImageFileError, match=r"picture\.png: too large; allowed: \d+ pixels"):
        read_rgb(path)
    path = tmp_path / "depth.tif"
    Image.fromarray(RAMP.astype(np.float32)).save(path)
    with pytest.raises(ImageFileError, match="of floating-point numbers; allowed: 8 or 16 bits a channel"):
        read_rgb(path)
