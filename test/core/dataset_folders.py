"""Small datasets in the layouts of the public ones: two squares that move down, the second one later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH, COUNT = 48, 64, 9
SIDE = 12
LATER = 4  # the frame on which the second object appears


def labels(index: int, shift: int = 0) -> np.ndarray:
    """Two squares that move down, the second one from `LATER` on; shifted to the right."""
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[8 + index : 8 + SIDE + index, 8 + shift : 8 + SIDE + shift] = 1
    if index >= LATER:
        values[8 + index : 8 + SIDE + index, 40 + shift : 40 + SIDE + shift] = 2
    return values


def write_frames(folder: Path) -> None:
    folder.mkdir(parents=True)
    for index in range(COUNT):
        picture = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
        picture[labels(index) > 0] = (220, 90, 40)
        Image.fromarray(picture).save(folder / f"{index:05}.jpg")


def write_palettes(folder: Path, every: int = 1, shift: int = 0) -> None:
    folder.mkdir(parents=True)
    for index in range(0, COUNT, every):
        image = Image.fromarray(labels(index, shift))
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        image.save(folder / f"{index:05}.png")


def write_object_folders(folder: Path, every: int = 2) -> None:
    for value, name, first in ((1, "000", 0), (2, "001", LATER)):
        (folder / name).mkdir(parents=True)
        for index in range(first, COUNT, every):
            Image.fromarray(labels(index) == value).save(folder / name / f"{index:05}.png")


def davis(root: Path, videos: tuple[str, ...] = ("a", "b")) -> Path:
    for video in videos:
        write_frames(root / "JPEGImages/480p" / video)
        write_palettes(root / "Annotations/480p" / video)
    return root / "Annotations/480p"


def mose(root: Path) -> Path:
    write_frames(root / "JPEGImages/a")
    write_palettes(root / "Annotations/a")
    return root / "Annotations"


def youtube_vos(root: Path) -> Path:
    write_frames(root / "JPEGImages/a")
    write_palettes(root / "Annotations/a", every=2)
    return root / "Annotations"


def sav(root: Path) -> Path:
    write_frames(root / "JPEGImages_24fps/a")
    write_object_folders(root / "Annotations_6fps/a")
    return root / "Annotations_6fps"


def results(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "results.json").read_text())
    return content
