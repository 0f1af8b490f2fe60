"""Frames of video files, image folders and cameras, read one by one; H.264 files that any player opens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np

from .image_files import ImageFileError, read_rgb

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_TIME_BASE = Fraction(1, 90000)  # of MPEG, fine enough for any stamp
_NANOSECONDS = 1_000_000_000
_ANY_TITLE: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
"""Before release 19, PyAV takes no file whose title is not UTF-8, unless it may replace what is wrong."""


def by_number(name: str) -> tuple[float, str]:
    """The order of frames and objects, as a key to sort by: 5 before 11, and names after numbers."""
    return (int(name) if name.isdecimal() else math.inf), name


class VideoError(ValueError):
    """A source that cannot be played, with the reason in one line."""


@dataclass(frozen=True)
class TimedImage:
    """One frame of a source."""

    image: np.ndarray  # uint8 [H, W, 3] RGB
    stamp: int  # [ns] after the first frame, rising


def folder_images(folder: Path) -> list[Path]:
    """The images in a folder in order of number, or else of name."""
    images = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(images, key=lambda path: (by_number(path.stem), path.name))


def open_input(source: Path, container_format: str | None = None) -> av.container.InputContainer:
    """A file or device whose first video stream can be decoded, to be read. Raises VideoError."""
    try:
        container = av.open(str(source), format=container_format, **_ANY_TITLE)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{source}: not a readable video ({error.strerror})") from error
    if not container.streams.video or container.streams.video[0].codec_context is None:
        container.close()
        raise VideoError(f"{source}: has no video stream that can be decoded")
    return container


class FrameReader:
    """The frames of a video file, an image folder (`folder_images`) or a camera device (/dev/videoN).

    Every iteration starts at the first frame and decodes lazily, so that a long film costs no memory.
    Frames of a folder are `1 / rate` seconds apart; those of a file have its own times and stand upright.
    Raises VideoError for a source that is missing, empty or not readable, also later, from the iteration.
    """

    def __init__(self, source: str | Path, folder_rate: float = 30.0) -> None:
        self.source = Path(source)
        self.is_camera = str(source).startswith("/dev/video")
        self.length: int | None = None  # frames, where it is known beforehand
        self._images: list[Path] = []
        if not self.source.exists():
            raise VideoError(f"{self.source}: no such file, folder or device")
        if self.source.is_dir():
            self._images = folder_images(self.source)
            if not self._images:
                raise VideoError(f"{self.source}: no image in this folder ({', '.join(IMAGE_SUFFIXES)})")
            self.rate, self.length = folder_rate, len(self._images)
        else:
            with self._open() as container:
                stream = container.streams.video[0]
                self.rate = float(stream.average_rate or folder_rate)
                self.length = stream.frames or None

    def __iter__(self) -> Iterator[TimedImage]:
        return self._folder_frames() if self._images else self._video_frames()

    def _open(self) -> av.container.InputContainer:
        return open_input(self.source, "v4l2" if self.is_camera else None)

    def _video_frames(self) -> Iterator[TimedImage]:
        previous = -1
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            first: float | None = None
            try:
                for index, frame in enumerate(container.decode(stream)):
                    time = frame.time if frame.time is not None else index / self.rate
                    first = time if first is None else first
                    previous = max(previous + 1, round((time - first) * _NANOSECONDS))
                    yield TimedImage(upright(frame), previous)
            except av.FFmpegError as error:
                where = f"after {previous / _NANOSECONDS:.2f} s" if previous >= 0 else "at its first frame"
                raise VideoError(f"{self.source}: broken {where} ({error.strerror})") from error
        if previous < 0:
            raise VideoError(f"{self.source}: has no frame")

    def _folder_frames(self) -> Iterator[TimedImage]:
        for index, path in enumerate(self._images):
            try:
                image = read_rgb(path)
            except ImageFileError as error:
                raise VideoError(str(error)) from error
            yield TimedImage(image, round(index / self.rate * _NANOSECONDS))


class VideoWriter:
    """Writes an .mp4 (H.264, yuv420p, index in front) frame by frame; a context manager.

    All frames have the size of the first; an odd width or height is extended by one repeated pixel, because
    H.264 halves the colours. Raises ValueError for a frame of another size or a stamp that does not rise.
    """

    def __init__(self, path: str | Path, rate: float) -> None:
        """rate: about how many frames a second will come; only a hint to the encoder."""
        self._container = av.open(str(path), "w", options={"movflags": "+faststart"})
        stream = self._container.add_stream("libx264", rate=Fraction(max(rate, 1.0)).limit_denominator(1000))
        assert isinstance(stream, av.VideoStream)
        self._stream = stream
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": "20", "preset": "veryfast"}
        self._stream.codec_context.time_base = _TIME_BASE
        self._size: tuple[int, ...] = ()
        self._first = 0
        self._last = -1

    def write(self, rgb: np.ndarray, stamp: int) -> None:
        """Adds one frame. rgb: uint8 [H, W, 3]; stamp: [ns], of any origin."""
        if not self._size:
            self._size = rgb.shape
            self._stream.height, self._stream.width = (side + side % 2 for side in rgb.shape[:2])
            self._first = stamp
        if rgb.shape != self._size:
            raise ValueError(f"frame is {rgb.shape}; the video is {self._size}")
        pts = round((stamp - self._first) * _TIME_BASE.denominator / _NANOSECONDS)
        if pts <= self._last:
            raise ValueError(f"stamp {stamp} does not rise above that of the frame before")
        self._last = pts
        even = np.pad(rgb, ((0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        frame.pts, frame.time_base = pts, _TIME_BASE
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finishes the file; without a single frame it is not playable."""
        if self._size:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def upright(frame: av.VideoFrame) -> np.ndarray:
    """The frame as uint8 [H, W, 3] RGB, turned as the file says (telephones film sideways)."""
    rgb = frame.to_ndarray(format="rgb24")
    quarter_turns = round(frame.rotation / 90) % 4  # counter-clockwise, as np.rot90
    return np.ascontiguousarray(np.rot90(rgb, quarter_turns)) if quarter_turns else rgb
