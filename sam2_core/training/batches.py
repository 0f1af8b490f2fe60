"""Batches of augmented clips, each a pure function of the configuration, the data, the step and the slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from sam2_core.evaluation.dataset import DatasetError
from sam2_core.model.preprocess import normalise
from sam2_core.training.augmentation import choose_frames, move, shift_colours
from sam2_core.training.clip import Clip, read_clip, select_objects
from sam2_core.training.config import BatchShape, TrainingConfig
from sam2_core.training.datasets.opening import UNUSABLE
from sam2_core.training.datasets.video import Dataset

_DRAWS = 1000  # for one clip, before the data are taken to have none


@dataclass(frozen=True)
class ClipBatch:
    """B clips of T frames with N objects in all."""

    frames: Tensor  # uint8 [T, B, 3, S, S] RGB
    masks: Tensor  # bool [T, N, S, S]
    known: Tensor  # bool [T, N], whether the mask is known; elsewhere it is empty
    clip_of_object: Tensor  # int64 [N], 0..B-1
    faults: tuple[str, ...] = ()  # of files that were to be read and could not

    def pixels(self) -> Tensor:
        """The frames as the network takes them: float32 [T * B, 3, S, S], frame by frame."""
        return normalise(self.frames.flatten(0, 1).float() / 255)

    def to(self, device: torch.device) -> ClipBatch:
        """The same batch on another device."""
        tensors = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "faults"}
        return replace(self, **{name: tensor.to(device) for name, tensor in tensors.items()})


def collate(clips: Sequence[Clip], faults: Sequence[str] = ()) -> ClipBatch:
    """Join clips of the same length and square size into one batch."""
    frames = np.stack([clip.frames for clip in clips], axis=1).transpose(0, 1, 4, 2, 3)
    owners = np.repeat(np.arange(len(clips)), [clip.masks.shape[1] for clip in clips])
    return ClipBatch(
        torch.from_numpy(np.ascontiguousarray(frames)),
        torch.from_numpy(np.concatenate([clip.masks for clip in clips], axis=1)),
        torch.from_numpy(np.concatenate([clip.known for clip in clips], axis=1)),
        torch.from_numpy(owners),
        tuple(faults),
    )


class ClipBatches(TorchDataset[ClipBatch]):
    """The batches of a run, indexed by the step that uses them and their place among that step's batches.

    Args:
        config: of the run.
        datasets: what to draw from, each with its share. Single images serve for clips of one frame only.

    Raises:
        DatasetError: there are clips of several frames to train on, but no videos.
    """

    def __init__(self, config: TrainingConfig, datasets: Sequence[tuple[float, Dataset]]) -> None:
        self._config = config
        self._all = list(datasets)
        self._moving = [(share, dataset) for share, dataset in datasets if not dataset.still]
        if config.longest > 1 and not self._moving:
            raise DatasetError(
                f"the data are single images, but a batch has clips of {config.longest} frames; "
                "allowed: frames: 1, or videos among the data"
            )

    def __getitem__(self, index: tuple[int, int]) -> ClipBatch:
        cv2.setNumThreads(0)  # leave the cores to the network
        step, slot = index
        rng = np.random.default_rng([self._config.seed, step, slot])
        shape = self._config.stage(step).slots[slot]
        faults: list[str] = []
        return collate([self._clip(shape, rng, faults) for _ in range(shape.clips)], faults)

    def _clip(self, shape: BatchShape, rng: np.random.Generator, faults: list[str]) -> Clip:
        datasets = self._all if shape.frames == 1 else self._moving
        weights = np.array([share for share, _ in datasets])
        for _ in range(_DRAWS):
            _, dataset = datasets[rng.choice(len(datasets), p=weights / weights.sum())]
            try:
                clip = self._draw(dataset, shape, rng)
            except UNUSABLE as error:
                faults.append(str(error))
                continue
            if clip is not None:
                return clip
        last = f"; the last file that could not be used: {faults[-1]}" if faults else ""
        raise DatasetError(
            f"{_DRAWS} draws gave no clip of {shape.frames} frames with an object that can be prompted "
            f"(smallest_object {self._config.smallest_object}){last}"
        )

    def _draw(self, dataset: Dataset, shape: BatchShape, rng: np.random.Generator) -> Clip | None:
        video = dataset.draw(shape.frames, shape.image_size, rng)
        frames = choose_frames(len(video), video.annotated, shape.frames, rng)
        clip = frames and read_clip(video, frames, shape.objects, rng)
        if not clip:
            return None
        moved = move(clip, shape.image_size, self._config.mosaics, rng)
        chosen = select_objects(moved, shape.objects, self._config.smallest_object, rng)
        if chosen is None:
            return None
        return Clip(
            shift_colours(chosen.frames, rng),
            np.repeat(chosen.masks, shape.repeats, axis=1),
            np.repeat(chosen.known, shape.repeats, axis=1),
        )
