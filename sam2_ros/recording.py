"""A tracked stream on disk: for every frame its masks, when they arrived, the image and the ground truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam2_core.masks import decode_rle

_INDEX = "frames.jsonl"
_PIXELS = "pixels.bin"
_SUMMARY = "summary.json"
_PROGRESS = "progress.json"


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


@dataclass(frozen=True)
class Progress:
    """How far a recording is that still goes on."""

    images: int = 0  # received by the recorder
    waiting: int = 0  # frames that the tracker still works on

    @classmethod
    def of(cls, directory: Path) -> Progress:
        """The latest; zeros before there is any."""
        note = directory / _PROGRESS
        return cls(**json.loads(note.read_text())) if note.exists() else cls()


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

    def note_progress(self, progress: Progress) -> None:
        """Leaves word for those who watch: see `Progress.of`."""
        fresh = self._directory / f"{_PROGRESS}.new"
        fresh.write_text(json.dumps(asdict(progress)))
        fresh.replace(self._directory / _PROGRESS)

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


def frames_dropped(status: Mapping[str, str]) -> dict[str, int]:
    """How many frames the tracker dropped, by reason, from its entry on /diagnostics."""
    prefix = "dropped: "
    return {key[len(prefix) :]: int(text) for key, text in status.items() if key.startswith(prefix)}


def frames_waiting(status: Mapping[str, str]) -> int:
    """How many frames the tracker has received and neither tracked nor dropped yet, from the same entry."""
    received, tracked = int(status["frames received"]), int(status["frames tracked"])
    return received - tracked - sum(frames_dropped(status).values())


def _frame(line: dict[str, Any], pixels: np.ndarray) -> RecordedFrame:
    objects = tuple(RecordedObject(**{**item, "size": tuple(item["size"])}) for item in line["objects"])
    image, labels = (_pixels_at(line[name], pixels) for name in ("image", "labels"))
    return RecordedFrame(line["stamp"], line["arrival"], objects, image, labels)


def _pixels_at(place: dict[str, Any] | None, pixels: np.ndarray) -> np.ndarray | None:
    if place is None:
        return None
    end = place["offset"] + int(np.prod(place["shape"]))
    return pixels[place["offset"] : end].reshape(place["shape"])
