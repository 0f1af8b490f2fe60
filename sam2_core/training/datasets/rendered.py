"""The project's own scenes: clips of a pool on disk, or rendered when they are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_core.scenes.scene import Scene
from sam2_core.training.datasets.video import BoolMask
from sam2_core.training.pool import FAMILIES, Shard, open_pool

_SEEDS = 2**31


class LabelledClip:
    """A clip whose labels are known on every frame.

    Args:
        frames: uint8 [T, H, W, 3].
        labels: uint8 [T, H, W]; 0 background, k object k.
    """

    def __init__(self, name: str, frames: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
        self.name = name
        self._frames = frames
        self._labels = labels
        self.annotated: Sequence[int] = range(len(frames))

    def __len__(self) -> int:
        return len(self._frames)

    def image(self, frame: int) -> NDArray[np.uint8]:
        return self._frames[frame]

    def seen(self, frame: int) -> list[str]:
        counts = np.bincount(self._labels[frame].ravel())
        return [str(label) for label in np.flatnonzero(counts) if label]

    def masks(self, frame: int, objects: Iterable[str]) -> dict[str, BoolMask]:
        return {name: self._labels[frame] == int(name) for name in objects}


class PoolDataset:
    """The clips of one family in a pool (`sam2_core.training.pool`)."""

    still = False

    def __init__(self, folder: Path, family: str) -> None:
        """Raises FileNotFoundError where there is none."""
        self._family = family
        self._shards: list[Shard] = open_pool(folder, family)

    def draw(self, frames: int, size: int, rng: np.random.Generator) -> LabelledClip:
        index = int(rng.integers(len(self._shards)))
        shard = self._shards[index]
        clip = int(rng.integers(len(shard.frames)))
        return LabelledClip(f"{self._family} {index}.{clip}", shard.frames[clip], shard.labels[clip])


class RenderedDataset:
    """Scenes of one family, rendered at the network's input size, none of them twice."""

    still = False

    def __init__(self, family: str) -> None:
        self._family = family

    def draw(self, frames: int, size: int, rng: np.random.Generator) -> LabelledClip:
        seed = int(rng.integers(_SEEDS))
        # Twice as many frames leave room for taking every second one.
        scene = FAMILIES[self._family](seed, frames=2 * frames, size=(size, size))
        return labelled(f"{self._family} {seed}", scene)


def labelled(name: str, scene: Scene) -> LabelledClip:
    """A rendered scene as a video."""
    return LabelledClip(name, scene.frames, scene.labels)
