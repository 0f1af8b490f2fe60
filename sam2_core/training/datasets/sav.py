"""Videos of SA-V's training set: `NAME.mp4` beside `NAME_manual.json` and `NAME_auto.json`.

A JSON file holds `masklet`: for each annotated frame a list with one COCO run-length code per object, or null
where nothing is known of it; and `fps`, the rate of the annotated frames. The first frame of the video is
annotated, and from there on every n-th: n is the rate of the video by that of the annotated frames.
"""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_core.evaluation.mask_folders import DatasetFileError
from sam2_core.masks import decode_rle
from sam2_core.training.datasets.video import BoolMask
from sam2_core.video_frames import VideoFrames, open_frames

KINDS = ("_manual", "_auto")
_ANNOTATED_RATE = 6  # [Hz] where the file does not tell
_TOLERANCE = Fraction(1, 100)  # of the ratio of two rates: what is called 30 Hz may be 29.97
_NANOSECONDS = 1_000_000_000


class SavSource:
    """One JSON file, which names its video."""

    def __init__(self, annotation: Path) -> None:
        self.name = annotation.stem
        self.video = annotation.parent / annotation.stem.rpartition("_")[0]
        self._annotation = annotation

    def open(self) -> SavVideo:
        return SavVideo(self._annotation)

    def check(self) -> list[str]:
        video = self.open()
        height, width = video.image(0).shape[:2]
        shown = set[str]()
        for frame in video.annotated:
            for name, mask in video.masks(frame, video.objects).items():
                if mask.shape != (height, width):
                    found = f"{mask.shape[1]} x {mask.shape[0]}; allowed: the video's, {width} x {height}"
                    where = f"of object {name} on frame {frame}"
                    raise DatasetFileError(self._annotation, f"the size of the mask {where} is {found}")
                if mask.any():
                    shown.add(name)
        if not shown:
            raise DatasetFileError(self._annotation, "no mask shows an object")
        hidden = [name for name in video.objects if name not in shown]
        return [f"{self._annotation}: no mask shows object {name}" for name in hidden]


class SavVideo:
    """One such video."""

    def __init__(self, annotation: Path) -> None:
        self.name = annotation.stem
        self._annotation = annotation
        content = read_json(annotation)
        try:
            self._codes: list[list[dict[str, Any] | None]] = list(content["masklet"])
            rate = content.get("fps", _ANNOTATED_RATE)
            rate = rate[0] if isinstance(rate, list) else rate
            objects = len(self._codes[0])
            name = content.get("video_id", annotation.stem.rpartition("_")[0])
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise DatasetFileError(annotation, f"is no annotation of SA-V ({error!r})") from error
        if not all(isinstance(codes, list) and len(codes) == objects for codes in self._codes):
            raise DatasetFileError(annotation, f"does not tell of {objects} objects on every frame")
        self._frames = open_frames(_video_beside(annotation, name))
        self._every = _frames_apart(self._frames, rate, annotation)
        if (last := (len(self._codes) - 1) * self._every) >= len(self._frames):
            raise DatasetFileError(
                annotation,
                f"annotates frame {last}; {self._frames.source.name} has {len(self._frames)} frames",
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


def _video_beside(annotation: Path, name: Any) -> Path:
    """The video of that name in the folder of its annotation. Raises DatasetFileError where there is none."""
    for suffix in (".mp4", ".MP4"):
        if os.path.isfile(path := annotation.parent / f"{name}{suffix}"):
            return path
    raise DatasetFileError(annotation, f"annotates video {name!r}, which is not beside it")


def _frames_apart(frames: VideoFrames, rate: Any, annotation: Path) -> int:
    """How many frames of a video one annotated frame is behind another.

    Args:
        rate: of the annotated frames [Hz], as `annotation` tells it.

    Raises:
        DatasetFileError: that is no whole number.
    """
    seconds = Fraction(frames.stamp(len(frames) - 1), _NANOSECONDS)
    if not seconds:
        raise DatasetFileError(frames.source, "has one frame; allowed: two or more, which tell its rate")
    video_rate = (len(frames) - 1) / seconds
    try:
        ratio = video_rate / Fraction(rate)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        ratio = Fraction(0)
    apart = round(ratio)
    if apart < 1 or abs(ratio - apart) > _TOLERANCE * apart:
        allowed = f"the video's rate, {float(video_rate):.2f}, divided by a whole number"
        raise DatasetFileError(annotation, f"fps is {rate!r}; allowed: {allowed}")
    return apart


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DatasetFileError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetFileError(path, f"is not a readable JSON file ({error})") from error


def decode_mask(code: Any, path: Path) -> BoolMask:
    """The mask of COCO's `{"size": [H, W], "counts": text}`.

    Raises:
        DatasetFileError: it is no such code; `path` names where it comes from.
    """
    try:
        height, width = map(operator.index, code["size"])
        return decode_rle(code["counts"], height, width)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetFileError(path, f"holds a damaged mask ({error})") from error
