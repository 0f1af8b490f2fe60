"""The masks of a run as they are found, one line of JSON a frame: readable at any moment, resumable."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..masks import decode_rle, encode_rle
from ..tracking import FrameResult


@dataclass(frozen=True)
class FoundObject:
    """One object on one frame, its mask still encoded."""

    id: int
    label: str
    score: float
    """Object score, a raw logit."""
    iou: float
    """Predicted IoU of the mask."""
    size: tuple[int, int]
    """(H, W) of the mask."""
    counts: str
    """The mask as a COCO run-length string."""

    @property
    def visible(self) -> bool:
        return self.score > 0

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """bool `[H, W]`."""
        return decode_rle(self.counts, *self.size)


class Journal:
    """An append-only file of what was found; a context manager.

    A run writes an object on a frame only once, but may come to a frame several times, for several objects.
    """

    def __init__(self, path: Path, keep: int) -> None:
        """keep: bytes of the existing file to go on from; what stands behind them is cut off."""
        self.path = path
        self._places: dict[int, list[int]] = {}
        # Where the file begins and each line ends: a line is noted in one step, which Ctrl-C cannot divide.
        self._ends = [0]
        path.touch()
        self._file = path.open("r+b")
        self._file.truncate(keep)
        for line in iter(self._file.readline, b""):
            self._note(json.loads(line)["frame"], len(line))

    @property
    def lines(self) -> int:
        """How often something was added."""
        return len(self._ends) - 1

    @property
    def size(self) -> int:
        """Bytes of these lines."""
        return self._ends[-1]

    @property
    def frames(self) -> list[int]:
        """The frames on which something was looked for, in order."""
        return sorted(self._places)

    def append(self, frame: int, result: FrameResult) -> None:
        """Adds the objects of a frame."""
        objects = [
            {
                "id": one.id,
                "label": one.label,
                "score": round(one.score, 6),
                "iou": round(one.iou, 6),
                "counts": encode_rle(one.mask),
            }
            for one in result.objects
        ]
        content = {"frame": frame, "size": result.size, "objects": objects}
        line = f"{json.dumps(content)}\n".encode()
        self._file.seek(self.size)
        self._file.write(line)
        self._file.flush()
        self._note(frame, len(line))

    def sync(self) -> None:
        """Returns when even a power cut leaves the file as it is."""
        os.fsync(self._file.fileno())

    def read(self, frame: int) -> tuple[tuple[int, int], Sequence[FoundObject]]:
        """The size (H, W) of a frame and what was found on it, in order of id."""
        lines = [self._line(place) for place in self._places[frame]]
        size = (int(lines[0]["size"][0]), int(lines[0]["size"][1]))
        found = [FoundObject(size=size, **one) for line in lines for one in line["objects"]]
        return size, sorted(found, key=lambda one: one.id)

    def _line(self, place: int) -> dict[str, Any]:
        self._file.seek(place)
        line: dict[str, Any] = json.loads(self._file.readline())
        return line

    def _note(self, frame: int, length: int) -> None:
        self._places.setdefault(frame, []).append(self.size)
        self._ends.append(self.size + length)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
