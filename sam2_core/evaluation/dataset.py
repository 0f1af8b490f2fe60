"""Folders of videos with masks, as the public datasets have them, recognised from their names:

- DAVIS 2017: `JPEGImages/480p/<video>/*.jpg`, `Annotations/480p/<video>/*.png`, every frame annotated
  (another resolution where it is the only one);
- MOSE: the same without `480p`;
- YouTube-VOS: as MOSE, but every fifth frame annotated, and objects that appear later;
- SA-V val and test: `JPEGImages_24fps/<video>/*.jpg`, `Annotations_6fps/<video>/<object>/*.png`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..image_files import ImageFileError, read_size
from ..video import VideoError, by_number
from ..video_frames import FolderFrames
from .mask_folders import DatasetFileError, MaskFolder, files_of, open_masks, subfolders

_ROOTS = (("JPEGImages_24fps", "Annotations_6fps"), ("JPEGImages", "Annotations"))
_RESOLUTION = "480p"  # the one of several that DAVIS is evaluated at
_RATE = 24.0  # [Hz] only for the frames' times, on which no mask depends


class DatasetError(ValueError):
    """A folder that is not a dataset; the message says why."""


@dataclass(frozen=True)
class VideoFolders:
    """Where the frames and the masks of one video lie."""

    name: str
    images: Path
    masks: Path

    @property
    def files(self) -> list[Path]:
        """Those of its frames and masks, as far as they are there."""
        return [*files_of(self.images), *files_of(self.masks)]


@dataclass(frozen=True)
class AnnotatedVideo:
    """One video with the true masks of its objects."""

    name: str
    images: FolderFrames
    masks: MaskFolder
    size: tuple[int, int]
    """(H, W) of every frame and mask."""
    annotated: Mapping[str, tuple[str, ...]]
    """For each object the frames on which its mask is known, from the first that shows it on."""
    scored: Mapping[str, tuple[str, ...]]
    """For each object the frames to score it on, when its first mask is given."""

    @property
    def frames(self) -> list[str]:
        """The names of all frames, in order."""
        return [path.stem for path in self.images.paths]


def read_names(file: Path) -> list[str]:
    """The names of a text file, one a line. Raises DatasetError where it has none, or is no text."""
    try:
        names = [line.strip() for line in file.read_text("utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file}: is no text; allowed: names in UTF-8, one a line") from error
    if not any(names):
        raise DatasetError(f"{file}: has no name; allowed: one or more, one a line")
    return [name for name in names if name]


def find_videos(root: Path, names: Iterable[str] | None = None) -> list[VideoFolders]:
    """The videos of a dataset in order of name; those named, or all that have masks.

    Nothing is read yet, and a folder of a video may be missing.

    Raises:
        DatasetError: the folders are not those of a dataset, or there is no video.
    """
    pairs = [(root / images, root / masks) for images, masks in _ROOTS]
    found = next((pair for pair in pairs if pair[0].is_dir() and pair[1].is_dir()), None)
    if found is None:
        allowed = " or ".join(f"{images} and {masks}" for images, masks in _ROOTS)
        raise DatasetError(f"{root}: is no dataset; allowed: a folder with {allowed}")
    level = _resolution(found[0])
    images, masks = (folder / level for folder in found)
    if not masks.is_dir():
        raise DatasetError(f"{masks}: no such folder")
    chosen = subfolders(masks) if names is None else sorted(set(names))
    if not chosen:
        raise DatasetError(f"{masks}: has no video; allowed: one folder a video")
    return [VideoFolders(name, images / name, masks / name) for name in chosen]


def read_video(folders: VideoFolders, scored: bool = True) -> tuple[AnnotatedVideo | None, list[str]]:
    """Reads through a video: what is annotated in it, and all that is wrong with it, as "file: reason".

    An object without a pixel is left out. Where a file cannot be used, the whole video is: it is None.
    With `scored`, objects that have no mask to be scored on are told of as well.
    """
    if missing := [folder for folder in (folders.images, folders.masks) if not folder.is_dir()]:
        return None, [f"{folder}: no such folder" for folder in missing]
    masks = open_masks(folders.masks)
    try:
        images = FolderFrames(folders.images, _RATE)
        size = _image_size(images.paths[0])
    except (VideoError, DatasetFileError) as error:
        return None, [str(error)]

    problems = _wrong_frames(images, size)
    names = {path.stem for path in images.paths}
    shown: dict[str, list[str]] = {}
    for frame in masks.frames:
        if frame not in names:
            problems.append(f"{folders.masks}: annotates frame {frame}, which is not in {folders.images}")
        try:
            for name in masks.visible(frame, size):
                shown.setdefault(name, []).append(frame)
        except DatasetFileError as error:
            problems.append(str(error))
    unusable = bool(problems)
    problems += [
        f"{folders.masks / name}: no mask shows the object" for name in masks.named if name not in shown
    ]
    if not shown:
        return None, problems or [f"{folders.masks}: no mask shows an object"]
    objects = sorted(shown, key=by_number)
    annotated = {name: _from(masks.annotated(name), shown[name][0]) for name in objects}
    to_score = {name: masks.scored(name, shown[name]) for name in objects}
    problems += [
        f"{folders.masks}: object {name} has no mask to score; "
        "allowed: one between the first and the last, which in SA-V shows the object"
        for name, frames in to_score.items()
        if scored and not frames
    ]
    if unusable:
        return None, problems
    return AnnotatedVideo(folders.name, images, masks, size, annotated, to_score), problems


def _wrong_frames(images: FolderFrames, size: tuple[int, int]) -> list[str]:
    """What is wrong with the files of the frames, as far as their headers tell."""
    problems = []
    for path in images.paths:
        try:
            height, width = _image_size(path)
        except DatasetFileError as error:
            problems.append(str(error))
            continue
        if (height, width) != size:
            problems.append(f"{path}: is {width} x {height}, the first frame {size[1]} x {size[0]}")
    return problems


def _image_size(path: Path) -> tuple[int, int]:
    try:
        return read_size(path)
    except ImageFileError as error:
        raise DatasetFileError(path, f"is {error.reason}") from error


def _from(frames: tuple[str, ...], first: str) -> tuple[str, ...]:
    return frames[frames.index(first) :]


def _resolution(images: Path) -> str:
    """The name of the folder that lies between the frames' root and the videos, in DAVIS; else empty."""
    names = subfolders(images)
    if not names or not subfolders(images / names[0]):
        return ""
    if len(names) > 1 and _RESOLUTION not in names:
        found = ", ".join(names)
        raise DatasetError(
            f"{images}: has several resolutions, {found}; allowed: one, or one named {_RESOLUTION}"
        )
    return names[0] if len(names) == 1 else _RESOLUTION
