"""A pool of rendered clips on disk, from which training batches are drawn.

Rendering is slower than training reads, so clips are rendered once, by as many processes as there are cores
for it, and seen many times in different crops, colours, speeds and directions. What a seed gives does not
depend on how many processes there are. ``python -m sam2_core.training.pool --help``.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from sam2_core.evaluation.mask_folders import DatasetFileError
from sam2_core.scenes import procedural, tabletop
from sam2_core.scenes.scene import Scene

SCENES_PER_SHARD = 16
FAMILIES: dict[str, Callable[..., Scene]] = {
    "procedural": procedural.sample_scene,
    "plain": functools.partial(procedural.sample_scene, family="plain"),
    "tabletop": tabletop.sample_scene,
}


@dataclass(frozen=True)
class Shard:
    """Several clips of one family, memory-mapped."""

    frames: NDArray[np.uint8]  # [M, T, S, S, 3] RGB
    labels: NDArray[np.uint8]  # [M, T, S, S]; 0 background, else a part of an object, or all of it
    owners: NDArray[np.uint8]  # [M, 256], the object that each of the labels belongs to; 0: none


def render_shard(family: str, first_seed: int, frames: int, size: int, folder: Path) -> Path:
    """Render ``SCENES_PER_SHARD`` scenes of consecutive seeds; the folder appears when it is complete."""
    target = folder / family / f"{first_seed:07d}"
    if target.exists():
        return target
    height, width = (size, size) if family != "tabletop" else (size, size * 4 // 3)
    images = np.empty((SCENES_PER_SHARD, frames, size, size, 3), np.uint8)
    labels = np.empty((SCENES_PER_SHARD, frames, size, size), np.uint8)
    owners = np.empty((SCENES_PER_SHARD, 256), np.uint8)
    for index in range(SCENES_PER_SHARD):
        scene = FAMILIES[family](first_seed + index, frames=frames, size=(height, width))
        finest, owners[index] = scene.finest()
        for t in range(frames):
            images[index, t] = cv2.resize(scene.frames[t], (size, size), interpolation=cv2.INTER_AREA)
            labels[index, t] = cv2.resize(finest[t], (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
    partial = target.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    np.save(partial / "frames.npy", images)
    np.save(partial / "labels.npy", labels)
    np.save(partial / "owners.npy", owners)
    partial.rename(target)
    return target


def render_pool(family: str, seeds: range, frames: int, size: int, folder: Path, workers: int = 1) -> None:
    """Render shards of the scenes of these seeds, `workers` at a time; those already there are kept."""
    firsts = seeds[::SCENES_PER_SHARD]
    # Forked processes would share the state of OpenGL and of OpenCV's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=cv2.setNumThreads, initargs=(1,)) as processes:
        shards = [processes.submit(render_shard, family, first, frames, size, folder) for first in firsts]
        try:
            for shard in tqdm(as_completed(shards), total=len(shards), unit="shard"):
                shard.result()
        except BaseException:
            processes.shutdown(wait=False, cancel_futures=True)
            raise


def find_shards(folder: Path, family: str) -> list[Path]:
    """All complete shards of one family, in the order of their seeds; none of them is opened."""
    return sorted(path for path in (folder / family).glob("*") if path.suffix != ".partial")


def open_shard(path: Path, frames: int = 1) -> Shard:
    """A shard whose clips have at least so many frames.

    Raises:
        DatasetFileError: they have fewer, or a file is missing or damaged.
    """
    arrays = []
    for name in Shard.__annotations__:
        file = path / f"{name}.npy"
        try:
            arrays.append(np.lib.format.open_memmap(file, mode="r"))
        except FileNotFoundError as error:
            reason = f"has no {file.name}, as those of an earlier version; remove it and render it again"
            raise DatasetFileError(path, reason) from error
        except Exception as error:  # whatever a damaged header makes NumPy raise
            reason = f"is damaged ({error}); remove its folder and render it again"
            raise DatasetFileError(file, reason) from error
    shard = Shard(*arrays)
    shape = shard.frames.shape
    fits = shape[4:] == (3,) and shard.labels.shape == shape[:4] and shard.owners.shape == (shape[0], 256)
    if not fits or not shard.frames.size or any(array.dtype != np.uint8 for array in arrays):
        found = ", ".join(f"{array.dtype} {list(array.shape)}" for array in arrays)
        raise DatasetFileError(path, f"holds {found}; allowed: uint8 [M, T, S, S, 3], [M, T, S, S], [M, 256]")
    if shape[1] < frames:
        raise DatasetFileError(path, f"has clips of {shape[1]} frames; allowed: {frames} or more")
    return shard


def main() -> None:
    """Render shards into a folder; those already there are kept."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--family", choices=FAMILIES, required=True)
    parser.add_argument("--scenes", type=int, required=True, help="rounded up to whole shards")
    parser.add_argument("--frames", type=int, default=16, help="frames of each clip")
    parser.add_argument("--size", type=int, default=256, help="side of the square frames, pixels")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes that render, at best one a core")
    parser.add_argument("--pool", type=Path, required=True, help="folder of the pool")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.scenes)
    render_pool(options.family, seeds, options.frames, options.size, options.pool, options.workers)


if __name__ == "__main__":
    main()
