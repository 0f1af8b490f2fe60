"""Annotated images, recognised from their files:

- COCO: `annotations/instances_<split>.json` and `<split>/*.jpg`; or such a file itself, with the images in
  the folder of its split or beside it;
- SA-1B: `*.jpg`, each with a `*.json` of the same name;
- the annotated frames of a video dataset (`dataset.py`).

Objects are polygons or run lengths as COCO has them. Crowds (`iscrowd`) are left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..image_files import ImageFileError, read_rgb, read_size
from ..masks import decode_rle, mask_of_runs
from ..polygons import fill_polygons
from ..video import IMAGE_SUFFIXES, by_number
from .dataset import DatasetError, VideoFolders, find_videos, read_video
from .mask_folders import DatasetFileError, MaskFolder

_PREFIX = "instances_"
BoolMask = NDArray[np.bool_]  # [H, W]


class AnnotatedImage(Protocol):
    """One image and its objects, none of them empty."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> Path: ...
    def masks(self) -> dict[str, BoolMask]:
        """The objects' masks, bool [H, W] of the image's size.

        Raises:
            DatasetFileError: a file cannot be used any more.
        """
        ...


class ImageSource(Protocol):
    """Something of a dataset that holds annotated images."""

    @property
    def name(self) -> str: ...
    @property
    def files(self) -> list[Path]:
        """All that it is read from; one may be missing."""
        ...

    def read(self) -> tuple[list[AnnotatedImage], list[str]]:
        """The images that can be used, and all that is wrong with the others, as "file: reason"."""
        ...


def load_image(path: Path) -> NDArray[np.uint8]:
    """An image, uint8 [H, W, 3], RGB. Raises DatasetFileError."""
    try:
        return read_rgb(path)
    except ImageFileError as error:
        raise DatasetFileError(path, f"is {error.reason}") from error


def find_images(root: Path, names: Iterable[str] | None = None) -> tuple[list[ImageSource], list[str]]:
    """The sources of annotated images of a dataset in order of name, and what is wrong with its index.

    A source is a video, or else an image by the name of its file.

    Args:
        root: the dataset's folder, or the file of one of COCO's form.
        names: those sources only; all where it is None.

    Raises:
        DatasetError: it is none of the forms, has no image, or none of a name.
    """
    sources, problems = _all_images(root)
    if names is None:
        return sources, problems
    by_name = {one.name: one for one in sources}
    if unknown := sorted(set(names) - by_name.keys()):
        raise DatasetError(f"{root}: has nothing annotated of the name {unknown[0]}")
    return [by_name[name] for name in sorted(set(names))], problems


def _all_images(root: Path) -> tuple[list[ImageSource], list[str]]:
    if root.is_file():
        return _coco(root)
    if (root / "annotations").is_dir():
        files = sorted((root / "annotations").glob(f"{_PREFIX}*.json"))
        files = [file for file in files if (root / file.stem.removeprefix(_PREFIX)).is_dir()]
        if len(files) != 1:
            found = ", ".join(file.name for file in files) or "none"
            raise DatasetError(
                f"{root / 'annotations'}: files that have their folder of images: {found}; "
                f"allowed: one {_PREFIX}SPLIT.json, or the path of such a file instead of the folder's"
            )
        return _coco(files[0])
    images = sorted(path for path in root.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    annotated = [path for path in images if path.with_suffix(".json").exists()]
    if annotated:
        alone = {path.stem for path in root.glob("*.json")} - {path.stem for path in images}
        problems = [f"{root / stem}.json: has no image beside it" for stem in sorted(alone)]
        return [_RunLengthFile(path) for path in annotated], problems
    try:
        return [_Video(one) for one in find_videos(root)], []
    except DatasetError as error:
        raise DatasetError(
            f"{error}; or one with annotations/{_PREFIX}SPLIT.json and SPLIT/*.jpg; "
            "or one with *.jpg, each with a *.json"
        ) from error


@dataclass(frozen=True)
class _Segmented:
    """An image whose objects are polygons or run lengths."""

    name: str
    path: Path
    size: tuple[int, int]
    segmentations: Mapping[str, Any]

    def masks(self) -> dict[str, BoolMask]:
        return {name: decode(one, self.size) for name, one in self.segmentations.items()}


@dataclass(frozen=True)
class _VideoFrame:
    name: str
    path: Path
    frame: str
    folder: MaskFolder
    size: tuple[int, int]
    objects: tuple[str, ...]

    def masks(self) -> dict[str, BoolMask]:
        found = self.folder.read(self.frame, self.objects, self.size)
        return {name: mask for name, mask in found.items() if mask.any()}


@dataclass(frozen=True)
class _Video:
    """The annotated frames of one video."""

    folders: VideoFolders

    @property
    def name(self) -> str:
        return self.folders.name

    @property
    def files(self) -> list[Path]:
        return self.folders.files

    def read(self) -> tuple[list[AnnotatedImage], list[str]]:
        video, problems = read_video(self.folders, scored=False)
        if video is None:
            return [], problems
        on_frame: dict[str, list[str]] = {}
        for name, frames in video.annotated.items():
            for frame in frames:
                on_frame.setdefault(frame, []).append(name)
        paths = {path.stem: path for path in video.images.paths}
        return [
            _VideoFrame(f"{self.name}/{frame}", paths[frame], frame, video.masks, video.size, tuple(objects))
            for frame, objects in sorted(on_frame.items(), key=lambda item: by_number(item[0]))
        ], problems


@dataclass(frozen=True)
class _CocoImage:
    """One image of a COCO file, with the annotations that name it."""

    name: str
    path: Path
    file: Path
    annotations: tuple[Mapping[str, Any], ...]

    @property
    def files(self) -> list[Path]:
        return [self.path, self.file]

    def read(self) -> tuple[list[AnnotatedImage], list[str]]:
        return _read(self.name, self.path, self.file, self.annotations)


@dataclass(frozen=True)
class _RunLengthFile:
    """One image of SA-1B, with the file beside it."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def files(self) -> list[Path]:
        return [self.path, self.path.with_suffix(".json")]

    def read(self) -> tuple[list[AnnotatedImage], list[str]]:
        file = self.path.with_suffix(".json")
        try:
            content = _load(file)
        except DatasetError as error:
            return [], [str(error)]
        annotations = content.get("annotations") if isinstance(content, dict) else None
        if not isinstance(annotations, list):
            return [], [f"{file}: has no annotations"]
        return _read(self.name, self.path, file, annotations)


def decode(segmentation: Any, size: tuple[int, int]) -> BoolMask:
    """The mask, bool [H, W] of `size`, of polygons or of (compressed) run lengths as COCO has them.

    Raises:
        ValueError: they are malformed, or of an image of another size.
    """
    try:
        return _decode(segmentation, size)
    except (TypeError, OverflowError) as error:
        raise ValueError("its segmentation is malformed") from error


def _decode(segmentation: Any, size: tuple[int, int]) -> BoolMask:
    if isinstance(segmentation, list):
        return fill_polygons(segmentation, size)
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise ValueError("its segmentation is neither a list of polygons nor run lengths")
    if tuple(segmentation["size"]) != size:
        height, width = segmentation["size"]
        raise ValueError(f"its mask is {width} x {height}; allowed: the image's size, {size[1]} x {size[0]}")
    counts, pixels = segmentation["counts"], size[0] * size[1]
    if isinstance(counts, str):
        return decode_rle(counts, *size)
    runs = np.asarray(counts)
    if runs.ndim != 1 or runs.dtype.kind != "i":
        raise ValueError("its run lengths are not a list of integers")
    if runs.min() < 0 or runs.max() > pixels or runs.sum() != pixels:
        raise ValueError("its run lengths do not fill the image")
    return mask_of_runs(runs, *size)


def _read(name: str, path: Path, file: Path, annotations: Any) -> tuple[list[AnnotatedImage], list[str]]:
    try:
        size = read_size(path)
    except ImageFileError as error:
        return [], [f"{path}: is {error.reason}"]
    segmentations, problems = {}, []
    for number, annotation in enumerate(annotations, start=1):
        if not isinstance(annotation, dict):
            problems.append(f"{file}: annotation {number}: is {annotation!r}; allowed: a JSON object")
            continue
        if annotation.get("iscrowd"):
            continue
        key = str(annotation.get("id", number))
        try:
            if decode(annotation.get("segmentation"), size).any():
                segmentations[key] = annotation["segmentation"]
            else:
                problems.append(f"{file}: annotation {key}: no pixel shows the object")
        except ValueError as error:
            problems.append(f"{file}: annotation {key}: {error}")
    return ([_Segmented(name, path, size, segmentations)] if segmentations else []), problems


def _coco(file: Path) -> tuple[list[ImageSource], list[str]]:
    content = _load(file)
    try:
        names = _file_names(file, content["images"])
        on_image: dict[Any, list[Mapping[str, Any]]] = {}
        for annotation in content["annotations"]:
            on_image.setdefault(annotation["image_id"], []).append(annotation)
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{file}: is no COCO file; allowed: 'images' and 'annotations'") from error
    folder = file.parent.parent / file.stem.removeprefix(_PREFIX)
    folder = folder if folder.is_dir() else file.parent
    problems = [
        f"{file}: annotation {one.get('id')} names image {image}, which is not in the file"
        for image, annotations in on_image.items()
        if image not in names
        for one in annotations
    ]
    sources = [
        _CocoImage(name, folder / name, file, tuple(on_image[image]))
        for image, name in sorted(names.items(), key=lambda item: item[1])
        if image in on_image
    ]
    if not sources:
        raise DatasetError("\n".join([f"{file}: no image is annotated", *problems]))
    return list(sources), problems


def _file_names(file: Path, images: Sequence[Mapping[str, Any]]) -> dict[Any, str]:
    """The names of COCO's images by id. Raises DatasetError where one is no text, or is there twice."""
    for key in ("id", "file_name"):
        counts = Counter(image[key] for image in images)
        if several := [value for value, count in counts.items() if count > 1]:
            raise DatasetError(f"{file}: has several images of the {key} {several[0]!r}; allowed: one")
    names = {image["id"]: image["file_name"] for image in images}
    for image, name in names.items():
        if not isinstance(name, str):
            raise DatasetError(f"{file}: image {image} has the file_name {name!r}; allowed: a text")
    return names


def _load(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise DatasetError(f"{file}: is not JSON") from error
