"""Single images with masks: SA-1B (`NAME.jpg` beside `NAME.json`) and COCO's instance files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sam2_core.evaluation.mask_folders import DatasetFileError
from sam2_core.masks import mask_of_runs
from sam2_core.training.datasets.sav import decode_mask, read_json
from sam2_core.training.datasets.video import BoolMask

_SUBPIXELS = 8  # binary places that OpenCV keeps of a polygon's corners


class Sa1bSource:
    """One image of SA-1B."""

    def __init__(self, annotation: Path) -> None:
        self.name = annotation.stem
        self._annotation = annotation

    def open(self) -> StillImage:
        content = read_json(self._annotation)
        try:
            codes = [one["segmentation"] for one in content["annotations"]]
            path = self._annotation.with_name(content["image"]["file_name"])
        except (KeyError, TypeError) as error:
            raise DatasetFileError(self._annotation, f"is no annotation of SA-1B ({error!r})") from error
        return StillImage(path, codes, self._annotation)

    def check(self) -> list[str]:
        return self.open().check()


class CocoSource:
    """One image of COCO, with the annotations that name it."""

    def __init__(self, image: Path, segmentations: Sequence[Any], annotation: Path) -> None:
        self.name = image.stem
        self._image = image
        self._segmentations = segmentations
        self._annotation = annotation

    def open(self) -> StillImage:
        return StillImage(self._image, self._segmentations, self._annotation)

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
    except (KeyError, TypeError) as error:
        raise DatasetFileError(path, f"is no instance file of COCO ({error!r})") from error
    sources = [CocoSource(images / files[key], found, path) for key, found in segmentations.items()]
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
            with Image.open(path) as image:
                self._size = (image.height, image.width)
        except FileNotFoundError as error:
            raise DatasetFileError(annotation, f"names an image that is not there: {path}") from error
        except (UnidentifiedImageError, OSError) as error:
            raise DatasetFileError(path, "is not a readable image") from error

    def __len__(self) -> int:
        return 1

    def image(self, frame: int) -> NDArray[np.uint8]:
        try:
            with Image.open(self._path) as image:
                return np.array(image.convert("RGB"))
        except (UnidentifiedImageError, OSError) as error:
            raise DatasetFileError(self._path, "is not a readable image") from error

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
        if isinstance(segmentation, list):
            mask = self._filled(segmentation)
        elif isinstance(segmentation, Mapping) and isinstance(segmentation.get("counts"), list):
            mask = self._from_runs(segmentation)
        else:
            mask = decode_mask(segmentation, self._annotation)
        if mask.shape != self._size:
            raise DatasetFileError(
                self._annotation,
                f"has a mask of {mask.shape[1]} x {mask.shape[0]}; "
                f"{self._path.name} is {self._size[1]} x {self._size[0]}",
            )
        return mask

    def _filled(self, polygons: Sequence[Any]) -> BoolMask:
        """Polygons [x0, y0, x1, y1, ...] in continuous pixels, filled."""
        canvas = np.zeros(self._size, np.uint8)
        try:
            corners = [np.asarray(polygon, np.float64).reshape(-1, 2) - 0.5 for polygon in polygons]
        except ValueError as error:
            raise DatasetFileError(self._annotation, f"holds a damaged polygon ({error})") from error
        for polygon in corners:
            fixed = (polygon * 2**_SUBPIXELS).round().astype(np.int32)
            cv2.fillPoly(canvas, [fixed], 1, shift=_SUBPIXELS)
        return canvas > 0

    def _from_runs(self, segmentation: Mapping[str, Any]) -> BoolMask:
        runs = np.asarray(segmentation["counts"], np.int64)
        height, width = segmentation["size"]
        if runs.size and (runs.min() < 0 or runs.sum() != height * width):
            raise DatasetFileError(self._annotation, "holds a mask whose runs do not fill the image")
        return mask_of_runs(runs, height, width)
