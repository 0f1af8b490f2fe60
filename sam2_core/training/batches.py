"""Batches of augmented clips, each a pure function of the configuration, the pool, the step and the slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sam2_core.model.preprocess import normalise
from sam2_core.training.augmentation import choose_frames, crop_and_flip, shift_colours
from sam2_core.training.config import BatchShape, TrainingConfig
from sam2_core.training.pool import Shard, open_pool

MIN_SHARE = 1 / 1000  # of the image that an object must show on the first frame, else nobody would click it


@dataclass(frozen=True)
class ClipBatch:
    """B clips of T frames with N objects in all."""

    frames: Tensor  # uint8 [T, B, 3, S, S] RGB
    masks: Tensor  # bool [T, N, S, S]
    clip_of_object: Tensor  # int64 [N], 0..B-1

    def pixels(self) -> Tensor:
        """The frames as the network takes them: float32 [T * B, 3, S, S], frame by frame."""
        return normalise(self.frames.flatten(0, 1).float() / 255)


def collate(clips: Sequence[tuple[NDArray[np.uint8], NDArray[np.bool_]]]) -> ClipBatch:
    """Join clips of (frames [T, S, S, 3], masks [T, K, S, S]) into one batch."""
    frames = np.stack([frames for frames, _ in clips], axis=1).transpose(0, 1, 4, 2, 3)
    masks = np.concatenate([masks for _, masks in clips], axis=1)
    owners = np.repeat(np.arange(len(clips)), [masks.shape[1] for _, masks in clips])
    return ClipBatch(
        torch.from_numpy(np.ascontiguousarray(frames)), torch.from_numpy(masks), torch.from_numpy(owners)
    )


def object_masks(labels: NDArray[np.uint8], most: int, rng: np.random.Generator) -> NDArray[np.bool_] | None:
    """Masks [T, K, S, S] of at most ``most`` objects seen on the first frame; None where there is none.

    Objects that are hidden later come first: there are few of them, and they teach what occlusion is.
    """
    areas = np.bincount(labels[0].ravel())
    seen = [label for label in range(1, len(areas)) if areas[label] >= MIN_SHARE * labels[0].size]
    if not seen:
        return None
    masks = labels[:, None] == rng.permutation(seen).astype(labels.dtype)[:, None, None]
    shown = masks.any(axis=(2, 3)).all(axis=0)
    return masks[:, np.argsort(shown, kind="stable")[:most]]


class ClipBatches(Dataset[ClipBatch]):
    """The batches of a run, indexed by the step that uses them and their place among that step's batches."""

    def __init__(self, config: TrainingConfig, pool: Path) -> None:
        self._config = config
        self._shards: dict[str, list[Shard]] = {family: open_pool(pool, family) for family in config.mixture}

    def __getitem__(self, index: tuple[int, int]) -> ClipBatch:
        cv2.setNumThreads(0)  # leave the cores to the network
        step, slot = index
        rng = np.random.default_rng([self._config.seed, step, slot])
        shape = self._config.stage(step).batches[slot]
        return collate([self._clip(shape, rng) for _ in range(shape.clips)])

    def _clip(
        self, shape: BatchShape, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        families = list(self._config.mixture)
        shares = np.array(list(self._config.mixture.values()))
        while True:
            shards = self._shards[families[rng.choice(len(families), p=shares / shares.sum())]]
            shard = shards[rng.integers(len(shards))]
            clip = rng.integers(len(shard.frames))
            chosen = choose_frames(shard.frames.shape[1], shape.frames, rng)
            frames, labels = crop_and_flip(
                shard.frames[clip][chosen], shard.labels[clip][chosen], shape.image_size, rng
            )
            masks = object_masks(labels, shape.objects, rng)
            if masks is not None:
                return shift_colours(frames, rng), np.repeat(masks, shape.repeats, axis=1)
