"""How well the network does, while it trains, on a few clips of the held-out families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sam2_core.model import Sam2Network
from sam2_core.training.batches import ClipBatch, collate, object_masks
from sam2_core.training.config import TrainingConfig
from sam2_core.training.losses import mask_iou
from sam2_core.training.pool import FAMILIES
from sam2_core.training.rollout import Interaction, Prediction, Rollout, encode_frames

FIRST_SEED = 1_000_000  # far from the seeds of sam2_core.scenes.held_out, which nothing is chosen by
FRAMES = 12
CLIPS_AT_ONCE = 4


@dataclass(frozen=True)
class Score:
    """Means over object-frames; a mask that is rightly empty has IoU 1."""

    image_iou: float  # first frames, from one click in the middle of the object
    track_iou: float  # the frames after it
    visibility: float  # share of those on which visible or hidden was told rightly


def validation_batches(config: TrainingConfig, size: int) -> list[ClipBatch]:
    """Render the clips, the same ones every time, as many of each scene family of the mixture."""
    rng = np.random.default_rng(FIRST_SEED)
    clips: list[tuple[NDArray[np.uint8], NDArray[np.bool_]]] = []
    for family in config.mixture:
        seed = FIRST_SEED
        wanted = len(clips) + config.validation_clips // len(config.mixture)
        while len(clips) < wanted:
            scene = FAMILIES[family](seed, frames=FRAMES, size=(size, size), family="held_out")
            seed += 1
            masks = object_masks(scene.labels, 3, rng)
            if masks is not None:
                clips.append((scene.frames, masks))
    return [collate(clips[i : i + CLIPS_AT_ONCE]) for i in range(0, len(clips), CLIPS_AT_ONCE)]


def shown_mask(prediction: Prediction, size: int) -> Tensor:
    """Mask logits [N, size, size] as a user sees them: negative everywhere where the object is hidden."""
    logits, _ = prediction.best()
    logits = F.interpolate(logits[:, None].float(), size=(size, size), mode="bilinear")[:, 0]
    return torch.where((prediction.score > 0)[:, None, None], logits, -1.0)


@torch.no_grad()
def validate(network: Sam2Network, batches: Sequence[ClipBatch]) -> Score:
    """Track every object of every clip from one click on the first frame."""
    size = network.config.image_size
    ious: list[tuple[bool, Tensor]] = []
    right: list[Tensor] = []
    for batch in batches:
        rollout = Rollout(network, batch, encode_frames(network, batch), Interaction("click"))
        remembered = {prediction.frame: prediction for prediction in rollout.run()}
        for prediction in remembered.values():
            truth = batch.masks[prediction.frame]
            visible = truth.flatten(1).any(dim=1)
            predicted = shown_mask(prediction, size)
            iou = mask_iou(predicted, truth.float())
            nothing = ~visible & (prediction.score <= 0)
            ious.append((prediction.frame == 0, torch.where(nothing, 1.0, iou)))
            if prediction.frame > 0:
                right.append(((prediction.score > 0) == visible).float())
    return Score(
        image_iou=float(torch.cat([iou for first, iou in ious if first]).mean()),
        track_iou=float(torch.cat([iou for first, iou in ious if not first]).mean()),
        visibility=float(torch.cat(right).mean()),
    )
