"""The frames of a recorded video by number, decoded on demand, so that its length costs no memory."""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .image_files import ImageFileError, read_rgb
from .video import IMAGE_SUFFIXES, VideoError, folder_images, open_input, upright

_NANOSECONDS = 1_000_000_000
_SHOW_PROGRESS_AFTER = 2.0  # [s]


class VideoFrames(Protocol):
    """What `open_frames` gives: `len()`, and each frame's picture and time."""

    source: Path
    paths: list[Path]
    """The files that it is read from."""
    early_end: str
    """Why there are fewer frames than the file declares; empty where there are not."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> NDArray[np.uint8]:
        """uint8 `[H, W, 3]`, RGB. Raises VideoError where that frame cannot be decoded."""
        ...

    def stamp(self, index: int) -> int:
        """[ns] after the first frame, rising with the index."""
        ...


def open_frames(source: str | Path, folder_rate: float = 30.0) -> VideoFrames:
    """Opens a video file, or an image folder (`folder_images`, `folder_rate` of them a second).

    Raises VideoError for a source that is missing, empty or not readable.
    """
    path = Path(source)
    if not path.exists():
        raise VideoError(f"{path}: no such file or folder")
    return FolderFrames(path, folder_rate) if path.is_dir() else FileFrames(path)


class FolderFrames:
    """The images of a folder in their order (`folder_images`): frame i is the file `paths[i]`."""

    early_end = ""

    def __init__(self, source: Path, rate: float) -> None:
        self.source = source
        self._rate = rate
        self.paths = folder_images(source)
        if not self.paths:
            raise VideoError(f"{source}: no image in this folder ({', '.join(IMAGE_SUFFIXES)})")

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> NDArray[np.uint8]:
        try:
            return read_rgb(self.paths[index])
        except ImageFileError as error:
            raise VideoError(str(error)) from error

    def stamp(self, index: int) -> int:
        return round(index / self._rate * _NANOSECONDS)


class FileFrames:
    """The frames of a video file.

    The file is read through once for the times of its frames. A frame is then decoded from the last key frame
    before it, or simply next where frames are asked for in order. What is decoded on the way to a frame is
    kept, up to `cache_bytes`, so that going backward does not start at the key frame for every single one.

    Some files do not tell when a frame is shown: AVI with B-frames, raw streams. They are decoded once to
    find out; and in a raw stream every frame is found only by decoding from the start.
    """

    def __init__(self, source: Path, cache_bytes: int = 256 * 2**20) -> None:
        self.source = source
        self.paths = [source]
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._container = self._open()
        self._marks, key_marks, length = self._read_through()
        self._times = sorted(self._marks)
        self._numbers = {mark: index for index, mark in enumerate(self._marks)}
        self._keys = sorted({0, *(self._numbers[mark] for mark in key_marks if mark in self._numbers)})
        self.early_end = self._missing(length)
        self._seek(0)

    def __del__(self) -> None:
        if hasattr(self, "_container"):
            # PyAV's streams hold their container: the file would stay open until a garbage collection.
            self._container.close()

    def __len__(self) -> int:
        return len(self._times)

    def stamp(self, index: int) -> int:
        base = self._stream.time_base
        assert base is not None
        return round((self._times[index] - self._times[0]) * base * _NANOSECONDS)

    def image(self, index: int) -> NDArray[np.uint8]:
        if index not in self._cache:
            key = bisect.bisect_right(self._keys, index) - 1
            if not self._keys[key] <= self._next <= index:
                self._seek(self._keys[key])
            # Not every file's index is exact: what a seek overshot is found from the key frame before.
            if not self._decode_to(index):
                self._seek(self._keys[max(key - 1, 0)])
                if not self._decode_to(index):
                    seconds = self.stamp(index) / _NANOSECONDS
                    raise VideoError(f"{self.source}: frame {index} ({seconds:.2f} s) cannot be decoded")
        self._cache.move_to_end(index)
        return self._cache[index]

    def _open(self) -> av.container.InputContainer:
        container = open_input(self.source)
        self._stream = container.streams.video[0]
        self._stream.thread_type = "AUTO"
        # A decoder would rather show something grey than nothing: here a damaged frame must be an error.
        self._stream.codec_context.options = {"err_detect": "explode"}
        return container

    def _missing(self, length: int) -> str:
        """The text for `early_end`. length: how long the frames last that there are, in the time base."""
        count, declared, duration = len(self._times), self._stream.frames, self._stream.duration
        # A trimmed film declares the frames that its edit list leaves out too: the others last long enough.
        half_a_frame = length / count / 2
        if count >= declared or (duration is not None and length + half_a_frame > duration):
            return ""
        return f"{self.source}: ends early, after {count} of {declared} frames"

    def _read_through(self) -> tuple[list[int], list[int], int]:
        """The marks of all frames as they are shown, those of the key frames, and how long all frames last.

        A mark is the time that goes into the decoder with a packet and comes out with its frame. In most
        files it is when the frame is shown.
        """
        is_raw = self._stream.start_time is None
        is_avi = self._container.format.name == "avi"
        must_decode = is_raw or (is_avi and self._stream.codec_context.has_b_frames)
        marks: list[int] = []
        key_marks: list[int] = []
        length = 0
        bar = tqdm(
            total=self._stream.frames or None,
            desc=f"reading the index of {self.source.name}",
            unit="frame",
            delay=_SHOW_PROGRESS_AFTER,
            leave=False,
        )
        try:
            with bar:
                for packet in _packets(self._container, self._stream):
                    if packet.is_discard or packet.is_corrupt:
                        continue
                    length += packet.duration or 0
                    if must_decode:
                        marks += [frame.pts for frame in _decoded(packet) if frame.pts is not None]
                    elif packet.size and packet.pts is not None:
                        marks.append(packet.pts)
                    if packet.is_keyframe and packet.pts is not None and not is_raw:
                        key_marks.append(packet.pts)
                    bar.update()
        except av.FFmpegError as error:
            if not marks:
                raise VideoError(f"{self.source}: not a readable video ({error.strerror})") from error
        if not marks:
            raise VideoError(f"{self.source}: has no frame")
        return marks if must_decode else sorted(set(marks)), key_marks, length

    def _seek(self, key: int) -> None:
        if key == 0:
            self._container.close()
            self._container = self._open()
        else:
            self._container.seek(self._marks[key], stream=self._stream)
        self._decoding = _numbered_frames(self._container, self._stream, self._numbers)
        self._next = key

    def _decode_to(self, index: int) -> bool:
        """Decodes from the present position on, until a frame is in the cache; False if it is not there."""
        for number, frame in self._decoding:
            self._next = number + 1
            size = frame.width * frame.height * 3
            if index - self._cache_bytes // size < number <= index:
                self._keep(number, upright(frame))
            if number >= index:
                break
        return index in self._cache

    def _keep(self, number: int, image: NDArray[np.uint8]) -> None:
        self._cache[number] = image
        while len(self._cache) > 1 and len(self._cache) * image.nbytes > self._cache_bytes:
            self._cache.popitem(last=False)


# Functions, since a generator that holds the object which holds it would keep all its frames, and the file
# open, until a garbage collection.


def _packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    """The packets from the present position on; those of a raw stream get the times of an even rate."""
    for number, packet in enumerate(container.demux(stream)):
        if packet.pts is None and packet.size:
            packet.pts = packet.dts if packet.dts is not None else number * (packet.duration or 1)
        yield packet


def _numbered_frames(
    container: av.container.InputContainer, stream: av.VideoStream, numbers: Mapping[int, int]
) -> Iterator[tuple[int, av.VideoFrame]]:
    """The frames from the present position on, numbered; those that cannot be decoded are left out."""
    for packet in _packets(container, stream):
        for frame in _decoded(packet):
            if frame.pts is not None and frame.pts in numbers:
                yield numbers[frame.pts], frame


def _decoded(packet: av.Packet) -> list[av.VideoFrame]:
    """The sound frames that come out of the decoder with a packet."""
    try:
        frames = packet.decode()
    except av.FFmpegError:
        return []
    return [frame for frame in frames if isinstance(frame, av.VideoFrame) and not frame.is_corrupt]
