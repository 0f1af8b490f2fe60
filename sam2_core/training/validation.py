"""How well the network does, while it trains, on videos that it is not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sam2_core.drawing import draw_overlay
from sam2_core.model import Sam2Network
from sam2_core.training.augmentation import whole
from sam2_core.training.batches import ClipBatch, collate
from sam2_core.training.clip import Clip, read_clip, select_objects
from sam2_core.training.config import DataSource, TrainingConfig
from sam2_core.training.datasets.opening import UNUSABLE
from sam2_core.training.datasets.rendered import labelled
from sam2_core.training.datasets.video import Source, Video
from sam2_core.training.losses import mask_iou
from sam2_core.training.pool import FAMILIES
from sam2_core.training.rollout import Interaction, Prediction, Rollout, encode_frames

FIRST_SEED = 1_000_000  # far from the seeds of sam2_core.scenes.held_out, which nothing is chosen by
FRAMES = 12
OBJECTS = 3
CLIPS_AT_ONCE = 4
_PICTURES = 4  # frames of a clip that are drawn


@dataclass(frozen=True)
class Validation:
    """What validation found. Scores are means over object-frames; a mask that is rightly empty has IoU 1."""

    scores: dict[str, float]
    """`image_iou`: first frames, from one click in the middle of the object. `track_iou`: the frames after
    it. `visibility`: share of those on which visible or hidden was told rightly. Without what there is none
    of."""
    picture: NDArray[np.uint8]
    """uint8 [H, W, 3]: frames of the first clip of each batch, with the masks that were found."""


def validation_batches(
    config: TrainingConfig, data: Sequence[tuple[DataSource, Sequence[Source]]], size: int, faults: list[str]
) -> list[ClipBatch]:
    """The clips, the same ones every time, as many of each dataset; of rendered ones the held-out family.

    What cannot be read is added to ``faults``, as "file: reason".
    """
    batches: list[ClipBatch] = []
    present = [(entry, sources) for entry, sources in data if entry.rendered or sources]
    for entry, sources in present:
        wanted = max(1, config.validation_clips // len(present)) if config.validation_clips else 0
        found: list[Clip] = []
        for video in _rendered(entry.rendered, size) if entry.rendered else _opened(sources, faults):
            if len(found) == wanted:
                break
            try:
                clip = _first_clip(video, config.smallest_object)
            except UNUSABLE as error:
                faults.append(str(error))
                continue
            if clip is not None:
                found.append(whole(clip, size))
        for length in sorted({len(clip.frames) for clip in found}):
            alike = [clip for clip in found if len(clip.frames) == length]
            batches += [collate(alike[i : i + CLIPS_AT_ONCE]) for i in range(0, len(alike), CLIPS_AT_ONCE)]
    return batches


def shown_mask(prediction: Prediction, size: int) -> Tensor:
    """Mask logits [N, size, size] as a user sees them: negative everywhere where the object is hidden."""
    logits, _ = prediction.best()
    logits = F.interpolate(logits[:, None].float(), size=(size, size), mode="bilinear")[:, 0]
    return torch.where((prediction.score > 0)[:, None, None], logits, -1.0)


@torch.no_grad()
def validate(network: Sam2Network, batches: Sequence[ClipBatch]) -> Validation:
    """Track every object of every clip from one click on the first frame."""
    size = network.config.image_size
    found: dict[str, list[Tensor]] = {"image_iou": [], "track_iou": [], "visibility": []}
    rows = []
    for batch in (batch.to(network.device) for batch in batches):
        rollout = Rollout(network, batch, encode_frames(network, batch), Interaction("click"))
        remembered = {prediction.frame: prediction for prediction in rollout.run()}
        for t, prediction in remembered.items():
            truth, known = batch.masks[t], batch.known[t]
            visible = truth.flatten(1).any(dim=1)
            iou = mask_iou(shown_mask(prediction, size), truth.float())
            nothing = ~visible & (prediction.score <= 0)
            found["track_iou" if t else "image_iou"].append(torch.where(nothing, 1.0, iou)[known])
            if t:
                found["visibility"].append(((prediction.score > 0) == visible)[known].float())
        rows.append(_draw(batch, remembered, size))
    scores = {name: torch.cat(values) for name, values in found.items() if values}
    return Validation(
        {name: float(values.mean()) for name, values in scores.items() if len(values)},
        np.concatenate(rows),
    )


def _rendered(family: str, size: int) -> Iterator[Video]:
    seed = FIRST_SEED
    while True:
        scene = FAMILIES[family](seed, frames=FRAMES, size=(size, size), family="held_out")
        yield labelled(f"{family} {seed}", scene)
        seed += 1


def _opened(sources: Sequence[Source], faults: list[str]) -> Iterator[Video]:
    for source in sources:
        try:
            yield source.open()
        except UNUSABLE as error:
            faults.append(str(error))


def _first_clip(video: Video, smallest: float) -> Clip | None:
    """The annotated frames of a video, up to `FRAMES`, from the first that shows an object on."""
    rng = np.random.default_rng(FIRST_SEED)
    for start in video.annotated:
        if video.seen(start):
            later = [frame for frame in video.annotated if frame >= start][:FRAMES]
            clip = read_clip(video, later, OBJECTS, rng)
            return clip and select_objects(clip, OBJECTS, smallest, rng)
    return None


def _draw(batch: ClipBatch, predictions: dict[int, Prediction], size: int) -> NDArray[np.uint8]:
    """The first clip of a batch as a row of `_PICTURES` frames, uint8 [S, n * S, 3]."""
    objects = (batch.clip_of_object == 0).nonzero().flatten().tolist()
    row = []
    for t in np.linspace(0, len(batch.frames) - 1, _PICTURES).round().astype(int).tolist():
        masks = (shown_mask(predictions[t], size) > 0).cpu().numpy()
        drawn = [
            SimpleNamespace(id=n + 1, label="", mask=masks[n], visible=bool(predictions[t].score[n] > 0))
            for n in objects
        ]
        frame = batch.frames[t, 0].permute(1, 2, 0).cpu().numpy()
        row.append(draw_overlay(np.ascontiguousarray(frame), drawn))
    return np.concatenate(row, axis=1)
