"""Compares J and F of sam2-eval with the public code of DAVIS 2017 and of SA-V, on masks made here.

The true masks are those of rendered scenes; the others are the same moved, grown, shrunk, torn or swapped,
more and more along a video. In SA-V's form some objects also hide at once, appear late or leave, and on some
frames are found there nevertheless. Both programs score the same folders; told is the largest difference of
any figure of any object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from sam2_core.palette import write_palette_image
from sam2_core.scenes import procedural
from sam2_core.tools import eval as sam2_eval

SIZE = (240, 427)
NAMES = {"M": "mean", "R": "recall", "D": "decay"}
EVERY = 4  # frames of SA-V's videos from one annotated frame to the next
HIDDEN = ((0, 0), (1, 4), (0, 3), (5, 99))
"""From and to which annotated frame an object is hidden: never, at once, until it appears, once it left."""
Bytes = NDArray[np.uint8]


def spoil(labels: Bytes, amount: float, rng: np.random.Generator) -> Bytes:
    """Bytes [H, W] as a tracker might find them; `amount` 0 to 1 says how wrong they are."""
    shift = np.float32([[1, 0, rng.normal(0, 12 * amount)], [0, 1, rng.normal(0, 12 * amount)]])
    found = cv2.warpAffine(labels, shift, labels.shape[::-1], flags=cv2.INTER_NEAREST)
    size = 1 + 2 * int(rng.integers(0, 1 + round(8 * amount)))
    change = (cv2.dilate, cv2.erode)[rng.integers(2)]
    found = change(found, np.ones((size, size), np.uint8))
    noise = cv2.GaussianBlur(rng.random(SIZE, np.float32), (0, 0), 6)
    found[noise > np.quantile(noise, 1 - 0.3 * amount)] = 0
    if rng.random() < 0.1 * amount:  # the objects are taken for each other
        found[found > 0] = labels.max() + 1 - found[found > 0]
    if rng.random() < 0.1 * amount:
        found[:] = 0
    return np.asarray(found, np.uint8)


def render(count: int, frames: int) -> Iterator[tuple[str, Bytes, Bytes]]:
    """Names, frames [T, H, W, 3] and labels [T, H, W] of scenes with objects; all show on the first frame."""
    for seed in tqdm(range(count), "rendering", unit="video"):
        scene = procedural.sample_scene(seed, frames, SIZE, "held_out")
        objects = np.unique(scene.labels[0])[1:]
        if objects.size:
            values = np.zeros(256, np.uint8)
            values[objects] = np.arange(1, 1 + objects.size)
            yield f"scene_{seed:02}", scene.frames, values[scene.labels]


def write_frames(folder: Path, images: Bytes) -> None:
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:05}.jpg")


def write_davis(root: Path, found: Path, count: int, frames: int) -> None:
    """Writes a dataset of DAVIS's form and masks to score."""
    rng = np.random.default_rng(0)
    names = []
    for name, images, labels in render(count, frames):
        names.append(name)
        write_frames(root / "JPEGImages/480p" / name, images)
        truth, masks = (folder / name for folder in (root / "Annotations/480p", found))
        truth.mkdir(parents=True)
        masks.mkdir(parents=True)
        for index, true in enumerate(labels):
            write_palette_image(truth / f"{index:05}.png", true)
            write_palette_image(masks / f"{index:05}.png", spoil(true, index / frames, rng))
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("\n".join(names) + "\n")


def write_sav(root: Path, found: Path, count: int, frames: int) -> None:
    """Writes a dataset of SA-V's form and masks to score."""
    rng = np.random.default_rng(0)
    fates = cycle(HIDDEN)
    for name, images, labels in render(count, frames):
        write_frames(root / "JPEGImages_24fps" / name, images)
        annotated = range(0, frames, EVERY)
        spoilt = [spoil(labels[index], index / frames, rng) for index in annotated]
        for value in range(1, 1 + labels[0].max()):
            first, last = next(fates)
            hidden = [first <= number < last for number in range(len(annotated))]
            true = [
                (labels[index] == value) & (not hides) for index, hides in zip(annotated, hidden, strict=True)
            ]
            if not np.any(true[1:-1]):
                continue  # the public code stops at it
            taken_in = rng.random(len(annotated)) < 0.2
            answers = [
                (labels_found == value) & (not hides or wrong)
                for labels_found, hides, wrong in zip(spoilt, hidden, taken_in, strict=True)
            ]
            for folder, masks in ((root / "Annotations_6fps", true), (found, answers)):
                place = folder / name / f"{value:03}"
                place.mkdir(parents=True)
                for index, mask in zip(annotated, masks, strict=True):
                    Image.fromarray(mask).save(place / f"{index:05}.png")


def score(root: Path, found: Path, out: Path) -> dict[str, Any]:
    """What sam2-eval finds."""
    if sam2_eval.main([str(root), "--out", str(out), "--predictions", str(found), "--strict"]):
        raise SystemExit(f"sam2-eval failed on {root}")
    results: dict[str, Any] = json.loads((out / "results.json").read_text())
    return results


def compare_davis(root: Path, found: Path, ours: dict[str, Any]) -> list[float]:
    """The differences from the public code: mean, recall and decay of J and F of every object."""
    from davis2017.evaluation import DAVISEvaluation

    theirs = DAVISEvaluation(str(root), "semi-supervised", "val").evaluate(str(found))
    objects = [one for video in ours["videos"].values() for one in video["objects"].values()]
    return [
        abs(value - one[measure.lower()][name])
        for measure in "JF"
        for letter, name in NAMES.items()
        for value, one in zip(theirs[measure][letter], objects, strict=True)
    ]


def compare_sav(root: Path, found: Path, ours: dict[str, Any]) -> list[float]:
    """The differences from the public code: J and F of every object, 0 to 1."""
    from sav_benchmark import VideoEvaluator

    evaluate = VideoEvaluator(str(root / "Annotations_6fps"), str(found))
    differences = []
    for video, told in ours["videos"].items():
        _, j, f = evaluate(video)
        assert j.keys() == f.keys() == told["objects"].keys()
        for name, one in told["objects"].items():
            differences += [abs(j[name] / 100 - one["j"]["mean"]), abs(f[name] / 100 - one["f"]["mean"])]
    return differences


def main() -> int:
    """Compare the figures of sam2-eval with those of the public code."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--public-davis",
        type=Path,
        required=True,
        metavar="DIR",
        help="checkout of davisvideochallenge/davis2017-evaluation",
    )
    parser.add_argument(
        "--public-sav", type=Path, required=True, metavar="DIR", help="checkout of facebookresearch/sam2"
    )
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument(
        "--frames", type=int, default=30, help="of each video; 256 at most for the public code of DAVIS"
    )
    options = parser.parse_args()
    sys.path[:0] = [str(options.public_davis), str(options.public_sav / "sav_dataset/utils")]

    with tempfile.TemporaryDirectory() as place:
        for form, write, compare in (("DAVIS", write_davis, compare_davis), ("SA-V", write_sav, compare_sav)):
            root, found, out = (Path(place) / form / name for name in ("set", "found", "out"))
            write(root, found, options.videos, options.frames)
            ours = score(root, found, out)
            differences = compare(root, found, ours)
            print(f"{form}: {ours['objects']} objects, J&F {ours['jf']:.3f}")
            print(f"largest difference of {len(differences)} figures: {max(differences):.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
