"""A pool of rendered clips on disk, from which training batches are drawn.

Rendering is slower than training reads, so clips are rendered once, at low priority, and seen many times
in different crops, colours, speeds and directions. ``python -m sam2_core.training.pool --help``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from sam2_core.scenes import procedural, tabletop
from sam2_core.scenes.scene import Scene

SCENES_PER_SHARD = 16
FAMILIES: dict[str, Callable[..., Scene]] = {
    "procedural": procedural.sample_scene,
    "tabletop": tabletop.sample_scene,
}


@dataclass(frozen=True)
class Shard:
    """Several clips of one family, memory-mapped."""

    frames: NDArray[np.uint8]  # [M, T, S, S, 3] RGB
    labels: NDArray[np.uint8]  # [M, T, S, S]; 0 background, k object k


def render_shard(family: str, first_seed: int, frames: int, size: int, folder: Path) -> Path:
    """Render ``SCENES_PER_SHARD`` scenes of consecutive seeds; the folder appears when it is complete."""
    target = folder / family / f"{first_seed:07d}"
    if target.exists():
        return target
    height, width = (size, size) if family == "procedural" else (size, size * 4 // 3)
    images = np.empty((SCENES_PER_SHARD, frames, size, size, 3), np.uint8)
    labels = np.empty((SCENES_PER_SHARD, frames, size, size), np.uint8)
    for index in range(SCENES_PER_SHARD):
        scene = FAMILIES[family](first_seed + index, frames=frames, size=(height, width))
        for t in range(frames):
            images[index, t] = cv2.resize(scene.frames[t], (size, size), interpolation=cv2.INTER_AREA)
            labels[index, t] = cv2.resize(scene.labels[t], (size, size), interpolation=cv2.INTER_NEAREST)
    partial = target.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    np.save(partial / "frames.npy", images)
    np.save(partial / "labels.npy", labels)
    partial.rename(target)
    return target


def open_pool(folder: Path, family: str) -> list[Shard]:
    """All complete shards of one family, in the order of their seeds.

    Raises:
        FileNotFoundError: there is none.
    """
    paths = sorted(path for path in (folder / family).glob("*") if path.suffix != ".partial")
    if not paths:
        raise FileNotFoundError(f"no clips of family '{family}' in {folder}; render them first")
    return [
        Shard(np.load(path / "frames.npy", mmap_mode="r"), np.load(path / "labels.npy", mmap_mode="r"))
        for path in paths
    ]


def main() -> None:
    """Render shards into a folder; those already there are kept."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--family", choices=FAMILIES, required=True)
    parser.add_argument("--scenes", type=int, required=True, help="rounded up to whole shards")
    parser.add_argument("--frames", type=int, default=16, help="frames of each clip")
    parser.add_argument("--size", type=int, default=256, help="side of the square frames, pixels")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--pool", type=Path, required=True, help="folder of the pool")
    options = parser.parse_args()
    last_seed = options.first_seed + options.scenes
    for seed in tqdm(range(options.first_seed, last_seed, SCENES_PER_SHARD), unit="shard"):
        render_shard(options.family, seed, options.frames, options.size, options.pool)


if __name__ == "__main__":
    main()
