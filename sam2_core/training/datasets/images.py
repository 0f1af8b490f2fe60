"""Single images with masks: SA-1B (`NAME.jpg` beside `NAME.json`) and COCO's instance files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_core.evaluation.image_dataset import decode, load_image
from sam2_core.evaluation.mask_folders import DatasetFileError
from sam2_core.image_files import ImageFileError, read_size
from sam2_core.training.datasets.sav import read_json
from sam2_core.training.datasets.video import BoolMask


class Sa1bSource:
    """One image of SA-1B."""

    def __init__(self, annotation: Path) -> None:
        self.name = annotation.stem
        self.video = annotation
        self._annotation = annotation

    def open(self) -> StillImage:
        content = read_json(self._annotation)
        try:
            codes = [one["segmentation"] for one in content["annotations"]]
            path = self._annotation.parent / content["image"]["file_name"]
        except (KeyError, TypeError) as error:
            raise DatasetFileError(self._annotation, f"is no annotation of SA-1B ({error!r})") from error
        return StillImage(path, codes, self._annotation)

    def check(self) -> list[str]:
        return self.open().check()


class CocoSource:
    """One image of COCO, with the annotations that name it."""

    def __init__(self, image: Path, segmentations: Sequence[Any], annotation: Path) -> None:
        self.name = image.stem
        self.video = image
        self._segmentations = segmentations
        self._annotation = annotation

    def open(self) -> StillImage:
        return StillImage(self.video, self._segmentations, self._annotation)

    def check(self) -> list[str]:
        return self.open().check()


def read_coco(path: Path, images: Path) -> tuple[list[CocoSource], list[str]]:
    """The annotated images of COCO's JSON file, and what is wrong with it. Groups of objects are left out.

    Raises:
        DatasetFileError: it is missing, damaged or no such file.
    """
    content = read_json(path)
    problems = []
    try:
        files = {one["id"]: one["file_name"] for one in content["images"]}
        segmentations: dict[Any, list[Any]] = {}
        for one in content["annotations"]:
            if one["image_id"] not in files:
                problems.append(f"{path}: annotation {one.get('id')} names unknown image {one['image_id']}")
            elif not one.get("iscrowd"):
                segmentations.setdefault(one["image_id"], []).append(one["segmentation"])
        sources = [CocoSource(images / files[key], found, path) for key, found in segmentations.items()]
    except (KeyError, TypeError) as error:
        raise DatasetFileError(path, f"is no instance file of COCO ({error!r})") from error
    return sorted(sources, key=lambda source: source.name), problems


class StillImage:
    """A video of one frame.

    Args:
        path: the image.
        segmentations: of each object: COCO's run lengths, compressed or not, or polygons.
        annotation: where they come from.
    """

    annotated = (0,)

    def __init__(self, path: Path, segmentations: Sequence[Any], annotation: Path) -> None:
        self.name = path.stem
        self._path = path
        self._annotation = annotation
        self._segmentations = {str(index): one for index, one in enumerate(segmentations)}
        try:
            self._size = read_size(path)
        except ImageFileError as error:
            raise DatasetFileError(annotation, f"names {path}, which is {error.reason}") from error

    def __len__(self) -> int:
        return 1

    def image(self, frame: int) -> NDArray[np.uint8]:
        return load_image(self._path)

    def seen(self, frame: int) -> list[str]:
        # Decoding a hundred masks to choose three would cost more than the step.
        return list(self._segmentations)

    def masks(self, frame: int, objects: Iterable[str]) -> dict[str, BoolMask]:
        return {name: self._mask(self._segmentations[name]) for name in objects}

    def check(self) -> list[str]:
        """What is wrong with single masks. Raises DatasetFileError for one that is damaged."""
        masks = self.masks(0, self._segmentations)
        return [f"{self._annotation}: mask {name} is empty" for name, mask in masks.items() if not mask.any()]

    def _mask(self, segmentation: Any) -> BoolMask:
        try:
            return decode(segmentation, self._size)
        except (TypeError, ValueError) as error:
            raise DatasetFileError(self._annotation, f"holds a mask that cannot be used: {error}") from error
