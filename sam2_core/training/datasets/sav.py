"""Videos of SA-V's training set: `NAME.mp4` beside `NAME_manual.json` and `NAME_auto.json`.

A JSON file holds `masklet`: for each annotated frame a list with one COCO run-length code per object, or null
where nothing is known of it; and `fps`, the rate of the annotated frames, of which the video has 24 a second.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_core.evaluation.mask_folders import DatasetFileError
from sam2_core.masks import decode_rle
from sam2_core.training.datasets.video import BoolMask
from sam2_core.video_frames import open_frames

KINDS = ("_manual", "_auto")
_VIDEO_RATE = 24  # [Hz]
_ANNOTATED_RATE = 6  # [Hz] where the file does not tell


class SavSource:
    """One JSON file, which names its video."""

    def __init__(self, annotation: Path) -> None:
        self.name = annotation.stem
        self._annotation = annotation

    def open(self) -> SavVideo:
        return SavVideo(self._annotation)

    def check(self) -> list[str]:
        video = self.open()
        hidden = set(video.objects).difference(*(video.seen(frame) for frame in video.annotated))
        return [f"{self._annotation}: no mask shows object {name}" for name in sorted(hidden, key=int)]


class SavVideo:
    """One such video."""

    def __init__(self, annotation: Path) -> None:
        self.name = annotation.stem
        self._annotation = annotation
        content = read_json(annotation)
        try:
            self._codes: list[list[dict[str, Any] | None]] = list(content["masklet"])
            rate = content.get("fps", _ANNOTATED_RATE)
            self._every = _VIDEO_RATE // int(rate[0] if isinstance(rate, list) else rate)
            objects = len(self._codes[0])
            name = content.get("video_id", annotation.stem.rpartition("_")[0])
        except (AttributeError, KeyError, IndexError, TypeError, ValueError, ZeroDivisionError) as error:
            raise DatasetFileError(annotation, f"is no annotation of SA-V ({error!r})") from error
        if any(len(codes) != objects for codes in self._codes):
            raise DatasetFileError(annotation, f"does not tell of {objects} objects on every frame")
        video = annotation.with_name(f"{name}.mp4")
        if not video.is_file():
            raise DatasetFileError(annotation, f"annotates video {name}, which is not there: {video}")
        self._frames = open_frames(video)
        if (last := (len(self._codes) - 1) * self._every) >= len(self._frames):
            raise DatasetFileError(
                annotation, f"annotates frame {last}; {video.name} has {len(self._frames)} frames"
            )
        self.objects = [str(index) for index in range(objects)]
        self.annotated = range(0, last + 1, self._every)

    def __len__(self) -> int:
        return len(self._frames)

    def image(self, frame: int) -> NDArray[np.uint8]:
        return self._frames.image(frame)

    def seen(self, frame: int) -> list[str]:
        return [name for name, mask in self.masks(frame, self.objects).items() if mask.any()]

    def masks(self, frame: int, objects: Iterable[str]) -> dict[str, BoolMask]:
        index, between = divmod(frame, self._every)
        if between or index >= len(self._codes):
            return {}
        codes = {name: self._codes[index][int(name)] for name in objects}
        return {name: decode_mask(code, self._annotation) for name, code in codes.items() if code is not None}


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DatasetFileError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DatasetFileError(path, f"is not a readable JSON file ({error})") from error


def decode_mask(code: Any, path: Path) -> BoolMask:
    """The mask of COCO's `{"size": [H, W], "counts": text}`.

    Raises:
        DatasetFileError: it is no such code; `path` names where it comes from.
    """
    try:
        height, width = code["size"]
        return decode_rle(code["counts"], height, width)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetFileError(path, f"holds a damaged mask ({error})") from error
