"""A tracked stream on disk: for every frame its masks, when they arrived, the image and the ground truth."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam2_core.masks import decode_rle

_INDEX = "frames.jsonl"
_PIXELS = "pixels.bin"
_SUMMARY = "summary.json"
_IMAGES_SEEN = "images_seen"


@dataclass(frozen=True)
class RecordedObject:
    """One object on one frame."""

    id: int
    label: str
    visible: bool
    score: float  # raw logit
    predicted_iou: float  # by the network itself
    counts: str  # COCO run lengths
    size: tuple[int, int]  # (H, W)

    @property
    def mask(self) -> np.ndarray:
        """bool [H, W]"""
        return decode_rle(self.counts, *self.size)


@dataclass(frozen=True)
class RecordedFrame:
    """One frame with masks; image and labels are None where they were not received."""

    stamp: int  # of the image [ns]
    arrival: int  # of the masks at the recorder [ns]
    objects: tuple[RecordedObject, ...]
    image: np.ndarray | None  # uint8 [H, W, 3] RGB
    labels: np.ndarray | None  # uint8 [H, W]; 0: background, k: object k


class RecordingWriter:
    """Appends frames to a folder. Pixels are stored raw, which costs the least time."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._index = (directory / _INDEX).open("w")
        self._pixels = (directory / _PIXELS).open("wb")

    def write(self, frame: RecordedFrame) -> None:
        """Appends one frame."""
        line = {
            "stamp": frame.stamp,
            "arrival": frame.arrival,
            "objects": [asdict(item) for item in frame.objects],
            "image": self._append(frame.image),
            "labels": self._append(frame.labels),
        }
        self._index.write(json.dumps(line) + "\n")
        self._index.flush()

    def note_images(self, count: int) -> None:
        """Leaves word of how many images have been received, for those who watch: see `images_seen`."""
        fresh = self._directory / f"{_IMAGES_SEEN}.new"
        fresh.write_text(str(count))
        fresh.replace(self._directory / _IMAGES_SEEN)

    def finish(self, summary: dict[str, Any]) -> None:
        """Writes what is known only at the end, and closes the files."""
        self._index.close()
        self._pixels.close()
        (self._directory / _SUMMARY).write_text(json.dumps(summary, indent=1))

    def _append(self, pixels: np.ndarray | None) -> dict[str, Any] | None:
        if pixels is None:
            return None
        place = {"offset": self._pixels.tell(), "shape": pixels.shape}
        self._pixels.write(np.ascontiguousarray(pixels).data)
        self._pixels.flush()
        return place


@dataclass(frozen=True)
class Recording:
    """A finished recording. Its pixels stay on the disk until they are looked at."""

    frames: tuple[RecordedFrame, ...]
    summary: dict[str, Any]

    @classmethod
    def load(cls, directory: Path) -> Recording:
        """Opens what RecordingWriter wrote."""
        pixels_file = directory / _PIXELS
        pixels = (
            np.memmap(pixels_file, np.uint8, "r") if pixels_file.stat().st_size else np.empty(0, np.uint8)
        )
        lines = (json.loads(line) for line in (directory / _INDEX).read_text().splitlines())
        frames = tuple(_frame(line, pixels) for line in lines)
        return cls(frames, json.loads((directory / _SUMMARY).read_text()))


def images_seen(directory: Path) -> int:
    """How many images a recording that may still be going on has received."""
    note = directory / _IMAGES_SEEN
    return int(note.read_text()) if note.exists() else 0


def _frame(line: dict[str, Any], pixels: np.ndarray) -> RecordedFrame:
    objects = tuple(RecordedObject(**{**item, "size": tuple(item["size"])}) for item in line["objects"])
    image, labels = (_pixels_at(line[name], pixels) for name in ("image", "labels"))
    return RecordedFrame(line["stamp"], line["arrival"], objects, image, labels)


def _pixels_at(place: dict[str, Any] | None, pixels: np.ndarray) -> np.ndarray | None:
    if place is None:
        return None
    end = place["offset"] + int(np.prod(place["shape"]))
    return pixels[place["offset"] : end].reshape(place["shape"])
