"""The masks of a video as datasets lay them out, read and written: true ones and predicted ones alike.

A frame is named by its file without the suffix ("00012"), an object by the value of its pixels ("3") or by
its folder ("003").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ..files import replacing
from ..palette import write_palette_image
from ..video import by_number

VOID = 255
"""The value of pixels that belong to no object although they are not background, in DAVIS."""
_MODES = ("P", "L", "1")


class DatasetFileError(ValueError):
    """Something of a dataset that cannot be used, named by its place, with the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")


class MaskFolder(Protocol):
    """The masks of one video."""

    frames: tuple[str, ...]
    """The frames that have a file, in the order of the video (`by_number`)."""

    named: tuple[str, ...]
    """The objects that are known without reading a file."""

    counts_unseen: bool
    """Whether J and F count from the first frame to score on, though neither mask shows the object yet."""

    def annotated(self, name: str) -> tuple[str, ...]:
        """The frames that tell of an object, in order."""
        ...

    def scored(self, name: str, shown: Sequence[str]) -> tuple[str, ...]:
        """The frames to score an object on, given all that show it; none where it cannot be scored."""
        ...

    def visible(self, frame: str, size: tuple[int, int]) -> list[str]:
        """The objects that have a pixel on a frame.

        Raises:
            DatasetFileError: a file is missing, unreadable, no mask, or not of `size` (H, W).
        """
        ...

    def read(self, frame: str, objects: Iterable[str], size: tuple[int, int]) -> dict[str, NDArray[np.bool_]]:
        """The masks of objects on a frame, bool [H, W].

        Raises:
            DatasetFileError: a file is missing, unreadable, no mask, or not of `size` (H, W).
        """
        ...

    def write(self, frame: str, logits: Mapping[str, NDArray[np.float32]]) -> None:
        """Writes the masks of at least one object on a frame: float32 [H, W], above 0 where it is."""
        ...

    def at(self, folder: Path) -> MaskFolder:
        """The masks in another folder that is laid out like this one; it need not exist yet."""
        ...


class PaletteMasks:
    """One image a frame with all objects in it, as DAVIS, MOSE and YouTube-VOS have them.

    Every frame that has a file is annotated for every object; one without a pixel is hidden there. A file
    without another value than 0 and `VOID` cannot be used: a mask of 0 and 255 says of no object which it is.
    """

    named: tuple[str, ...] = ()
    counts_unseen = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.frames = _stems(folder)

    def annotated(self, name: str) -> tuple[str, ...]:
        return self.frames

    def scored(self, name: str, shown: Sequence[str]) -> tuple[str, ...]:
        return self.frames[self.frames.index(shown[0]) + 1 : -1]

    def visible(self, frame: str, size: tuple[int, int]) -> list[str]:
        counts = np.bincount(self._labels(frame, size).ravel())
        return [str(value) for value in np.flatnonzero(counts) if value not in (0, VOID)]

    def read(self, frame: str, objects: Iterable[str], size: tuple[int, int]) -> dict[str, NDArray[np.bool_]]:
        labels = self._labels(frame, size)
        return {name: labels == int(name) for name in objects}

    def write(self, frame: str, logits: Mapping[str, NDArray[np.float32]]) -> None:
        """As `MaskFolder.write`; where objects overlap, the one of the larger logit has the pixel."""
        self._folder.mkdir(parents=True, exist_ok=True)
        objects = np.stack(list(logits.values()))
        # With the background as a layer of logit 0, the largest one decides everywhere.
        layers = np.concatenate([np.zeros_like(objects[:1]), objects])
        values = np.array([0, *map(int, logits)], np.uint8)
        write_palette_image(self._path(frame), values[layers.argmax(axis=0)])

    def at(self, folder: Path) -> PaletteMasks:
        return PaletteMasks(folder)

    def _path(self, frame: str) -> Path:
        return self._folder / f"{frame}.png"

    def _labels(self, frame: str, size: tuple[int, int]) -> NDArray[np.uint8]:
        labels = _read(self._path(frame), size)
        if (labels == VOID).any() and np.isin(labels, (0, VOID)).all():
            raise DatasetFileError(
                self._path(frame),
                f"has no value but 0 and {VOID}, which is no object; allowed: the object's number, 1 to 254",
            )
        return labels


class ObjectFolders:
    """One folder an object, in it one image a frame that is not black where the object is, as in SA-V.

    An object is annotated on the frames that its folder has.
    """

    counts_unseen = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.named = tuple(subfolders(folder))
        self._annotated = {name: _stems(folder / name) for name in self.named}
        self.frames = tuple(sorted(set[str]().union(*self._annotated.values()), key=by_number))

    def annotated(self, name: str) -> tuple[str, ...]:
        return self._annotated[name]

    def scored(self, name: str, shown: Sequence[str]) -> tuple[str, ...]:
        between = self._annotated[name][1:-1]
        return between if set(between) & set(shown) else ()

    def visible(self, frame: str, size: tuple[int, int]) -> list[str]:
        told_of = [name for name, frames in self._annotated.items() if frame in frames]
        return [name for name, mask in self.read(frame, told_of, size).items() if mask.any()]

    def read(self, frame: str, objects: Iterable[str], size: tuple[int, int]) -> dict[str, NDArray[np.bool_]]:
        return {name: _read(self._path(frame, name), size) > 0 for name in objects}

    def write(self, frame: str, logits: Mapping[str, NDArray[np.float32]]) -> None:
        for name, values in logits.items():
            path = self._path(frame, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                Image.fromarray(np.where(values > 0, np.uint8(255), np.uint8(0))).save(temporary)

    def at(self, folder: Path) -> ObjectFolders:
        return ObjectFolders(folder)

    def _path(self, frame: str, name: str) -> Path:
        return self._folder / name / f"{frame}.png"


def open_masks(folder: Path) -> PaletteMasks | ObjectFolders:
    """The masks in a folder: one folder an object where it has folders, else one image a frame."""
    return ObjectFolders(folder) if subfolders(folder) else PaletteMasks(folder)


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in a folder, in order; not those that tools hide there, as `.x` or `@x`."""
    return sorted(path.name for path in folder.glob("*") if path.is_dir() and path.name[0] not in ".@")


def files_of(folder: Path) -> list[Path]:
    """The files of a folder and of its `subfolders`; none where there is no such folder."""
    folders = [folder, *(folder / name for name in subfolders(folder))]
    return [path for one in folders for path in one.glob("*") if path.is_file()]


def _stems(folder: Path) -> tuple[str, ...]:
    stems = (path.stem for path in folder.glob("*.png") if not path.name.startswith("."))
    return tuple(sorted(stems, key=by_number))


def _read(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The values of an image, uint8 [H, W]."""
    try:
        with Image.open(path) as image:
            mode, values = image.mode, np.array(image)
    except FileNotFoundError as error:
        raise DatasetFileError(path, "is missing") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:  # Pillow's for a damaged PNG
        raise DatasetFileError(path, "is not a readable image") from error
    if mode not in _MODES:
        raise DatasetFileError(path, f"is no mask: its mode is {mode}; allowed: {', '.join(_MODES)}")
    if values.shape != size:
        raise DatasetFileError(
            path,
            f"is {values.shape[1]} x {values.shape[0]}; allowed: the frame's size, {size[1]} x {size[0]}",
        )
    return values.astype(np.uint8)
