"""Compares J and F of sam2-eval with the public davis2017-evaluation, on masks made here.

The true masks are those of rendered scenes; the others are the same moved, grown, shrunk, torn or swapped,
more and more along a video. Both programs score the same folders; told is the largest difference of any
figure of any object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

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


def spoil(labels: NDArray[np.uint8], amount: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Labels [H, W] as a tracker might find them; `amount` 0 to 1 says how wrong they are."""
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


def make_videos(root: Path, found: Path, count: int, frames: int) -> list[str]:
    """Writes a dataset of DAVIS's form and masks to score; returns the videos' names."""
    rng = np.random.default_rng(0)
    names = []
    for seed in tqdm(range(count), "rendering", unit="video"):
        scene = procedural.sample_scene(seed, frames, SIZE, "held_out")
        objects = np.unique(scene.labels[0])[1:]
        if not objects.size:
            continue  # DAVIS shows every object on the first frame
        values = np.zeros(256, np.uint8)
        values[objects] = np.arange(1, 1 + objects.size)
        names.append(f"scene_{seed:02}")
        folders = [root / "JPEGImages/480p", root / "Annotations/480p", found]
        images, truth, masks = (folder / names[-1] for folder in folders)
        for folder in (images, truth, masks):
            folder.mkdir(parents=True)
        for index, (image, labels) in enumerate(zip(scene.frames, values[scene.labels], strict=True)):
            Image.fromarray(image).save(images / f"{index:05}.jpg")
            write_palette_image(truth / f"{index:05}.png", labels)
            write_palette_image(masks / f"{index:05}.png", spoil(labels, index / frames, rng))
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("\n".join(names) + "\n")
    return names


def main() -> int:
    """Compare the figures of sam2-eval with those of the public code."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--public", type=Path, required=True, help="checkout of davisvideochallenge/davis2017-evaluation"
    )
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument(
        "--frames", type=int, default=30, help="of each video; 256 at most for the public code"
    )
    options = parser.parse_args()
    sys.path.insert(0, str(options.public))
    from davis2017.evaluation import DAVISEvaluation

    with tempfile.TemporaryDirectory() as place:
        root, found, out = (Path(place) / name for name in ("set", "found", "out"))
        names = make_videos(root, found, options.videos, options.frames)
        theirs = DAVISEvaluation(str(root), "semi-supervised", "val").evaluate(str(found))
        status = sam2_eval.main([str(root), "--out", str(out), "--predictions", str(found), "--strict"])
        if status:
            return status
        ours = json.loads((out / "results.json").read_text())

    objects = [one for name in names for one in ours["videos"][name]["objects"].values()]
    differences = [
        abs(value - one[measure.lower()][name])
        for measure in "JF"
        for letter, name in NAMES.items()
        for value, one in zip(theirs[measure][letter], objects, strict=True)
    ]
    frames = (options.frames - 2) * len(objects)
    print(f"{len(objects)} objects, {frames} pairs of masks, J&F {ours['jf']:.3f}")
    print(f"largest difference of {len(differences)} figures: {max(differences):.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
