"""What training reads: a video, or a single image, with the true masks of its objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

BoolMask = NDArray[np.bool_]  # [H, W]


class Video(Protocol):
    """One video of H x W pixels, or an image as a video of one frame. Frames are counted from 0."""

    @property
    def name(self) -> str: ...

    @property
    def annotated(self) -> Sequence[int]:
        """The frames on which some mask is known, in order."""
        ...

    def __len__(self) -> int:
        """How many frames there are."""
        ...

    def image(self, frame: int) -> NDArray[np.uint8]:
        """uint8 [H, W, 3], RGB.

        Raises:
            DatasetFileError, VideoError: it cannot be read.
        """
        ...

    def seen(self, frame: int) -> list[str]:
        """The objects that have a pixel on an annotated frame. Raises as `masks` does."""
        ...

    def masks(self, frame: int, objects: Iterable[str]) -> dict[str, BoolMask]:
        """The masks on a frame, without those that are not known there; empty where an object is hidden.

        Raises:
            DatasetFileError: a file cannot be used.
        """
        ...


class Source(Protocol):
    """Where one video lies, with one file or folder of its masks."""

    @property
    def name(self) -> str: ...

    @property
    def video(self) -> Path:
        """Tells videos apart: there may be several sources of one."""
        ...

    def open(self) -> Video:
        """The video, ready to be read.

        Raises:
            DatasetFileError, VideoError: it cannot be used.
        """
        ...

    def check(self) -> list[str]:
        """What is wrong with parts that will be left out, as "file: reason". Raises as `open` does."""
        ...


class Dataset(Protocol):
    """Videos of one kind, to be drawn from."""

    @property
    def still(self) -> bool:
        """Whether it has single images only."""
        ...

    def draw(self, frames: int, size: int, rng: np.random.Generator) -> Video:
        """A random video of at least so many frames, for a network input of `size` pixels.

        Raises:
            DatasetFileError, VideoError: the drawn one cannot be used.
        """
        ...
