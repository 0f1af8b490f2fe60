"""The simulated user of a batch, drawn at random."""

from __future__ import annotations

import numpy as np

from sam2_core.training.batches import ClipBatch
from sam2_core.training.config import BatchShape
from sam2_core.training.rollout import Interaction


def draw_interaction(
    shape: BatchShape, batch: ClipBatch, smallest: float, rng: np.random.Generator
) -> Interaction:
    """How the objects of a batch are prompted (SAM 2, appendix D.2.1).

    Only frames with ground truth can be corrected, and only those that show enough of all objects be
    prompted beside the first one. One frame with ground truth at least is left to be tracked. As in Meta's
    training, clicks and boxes are always corrected, and before any other frame is; a mask, which is not
    there, is followed by corrections on any frames, or none.

    Args:
        shape: the kinds of first prompts, and how many corrections there may be.
        batch: its clips.
        smallest: share of the image that every object must show on a frame that is prompted.
        rng: of the batch, also for where the clicks go.
    """
    kinds = list(shape.prompts)
    first = kinds[rng.choice(len(kinds), p=list(shape.prompts.values()))]
    seen = (batch.masks.flatten(2).float().mean(dim=2) >= smallest).all(dim=1).cpu().numpy()
    known = batch.known.any(dim=1).cpu().numpy()
    showing = 1 + np.flatnonzero(seen[1:])
    more = int(rng.integers(1, shape.prompted_frames, endpoint=True)) - 1
    possible = max(0, min(more, len(showing), known[1:].sum() - 1))
    prompted = [0, *rng.choice(showing, size=possible, replace=False).tolist()]
    order, fewest = rng.permutation(np.flatnonzero(known)).tolist(), 0
    if first != "mask":
        order = [*prompted, *(frame for frame in order if frame not in prompted)]
        fewest = min(len(prompted), shape.corrected_frames)
    corrected = order[: rng.integers(fewest, shape.corrected_frames, endpoint=True)]
    return Interaction(
        first,
        frozenset(corrected),
        shape.corrections,
        shape.lasting_corrections,
        tuple(prompted),
        rng,
    )
