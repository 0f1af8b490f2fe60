"""The project's own scenes: clips of a pool on disk, or rendered when they are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2_core.scenes.scene import Scene
from sam2_core.training.augmentation import MOST_APART
from sam2_core.training.datasets.video import BoolMask
from sam2_core.training.pool import FAMILIES, open_shard

_SEEDS = 2**31
_PART_SHARE = 1 / 7  # of the clips have parts as objects; a click on a part is more often meant for the whole


class LabelledClip:
    """A clip whose labels are known on every frame.

    Args:
        frames: uint8 [T, H, W, 3].
        labels: uint8 [T, H, W]; 0 background, else a part of an object, or all of it.
        owners: uint8 [256], the object of each label. It is named "3", one of its parts "part 7".
        parts: whether the parts of objects are objects, too.
    """

    def __init__(
        self,
        name: str,
        frames: NDArray[np.uint8],
        labels: NDArray[np.uint8],
        owners: NDArray[np.uint8],
        parts: bool,
    ) -> None:
        self.name = name
        self._frames = frames
        self._labels = labels
        self._owners = owners
        self._has_parts = (owners > 0) & (np.bincount(owners, minlength=256)[owners] > 1) & parts
        self.annotated: Sequence[int] = range(len(frames))

    def __len__(self) -> int:
        return len(self._frames)

    def image(self, frame: int) -> NDArray[np.uint8]:
        return self._frames[frame]

    def seen(self, frame: int) -> list[str]:
        labels = np.flatnonzero(np.bincount(self._labels[frame].ravel()))
        objects = [str(label) for label in np.unique(self._owners[labels]) if label]
        return objects + [f"part {label}" for label in labels if self._has_parts[label]]

    def masks(self, frame: int, objects: Iterable[str]) -> dict[str, BoolMask]:
        labels = self._labels[frame]
        whole = self._owners[labels]
        return {
            name: labels == int(name[5:]) if name.startswith("part ") else whole == int(name)
            for name in objects
        }


class PoolDataset:
    """The clips of one family in shards of a pool (`sam2_core.training.pool`)."""

    still = False

    def __init__(self, family: str, shards: Sequence[Path]) -> None:
        self._family = family
        # Opened when drawn from: sent to another process, a memory map becomes a copy of the whole file.
        self._shards = shards

    def draw(self, frames: int, size: int, rng: np.random.Generator) -> LabelledClip:
        index = int(rng.integers(len(self._shards)))
        shard = open_shard(self._shards[index], frames)
        clip = int(rng.integers(len(shard.frames)))
        parts = bool(rng.random() < _PART_SHARE)
        name = f"{self._family} {index}.{clip}"
        return LabelledClip(name, shard.frames[clip], shard.labels[clip], shard.owners[clip], parts)


class RenderedDataset:
    """Scenes of one family, rendered at the network's input size, none of them twice."""

    still = False

    def __init__(self, family: str) -> None:
        self._family = family

    def draw(self, frames: int, size: int, rng: np.random.Generator) -> LabelledClip:
        seed = int(rng.integers(_SEEDS))
        # So many more frames leave room for the longest stride.
        scene = FAMILIES[self._family](seed, frames=MOST_APART * frames, size=(size, size))
        return labelled(f"{self._family} {seed}", scene, bool(rng.random() < _PART_SHARE))


def labelled(name: str, scene: Scene, parts: bool = False) -> LabelledClip:
    """A rendered scene as a video, its objects' `parts` objects, too, or not."""
    return LabelledClip(name, scene.frames, *scene.finest(), parts)
