"""The simulated user of a batch, drawn at random."""

from __future__ import annotations

import numpy as np

from sam2_core.training.batches import ClipBatch
from sam2_core.training.config import BatchShape
from sam2_core.training.rollout import Interaction


def draw_interaction(shape: BatchShape, batch: ClipBatch, rng: np.random.Generator) -> Interaction:
    """How the objects of a batch are prompted (SAM 2, appendix D.2.1).

    Only frames with ground truth can be corrected, and only those that show all of the objects be prompted
    beside the first one. One frame with ground truth at least is left to be tracked.

    Args:
        shape: the kinds of first prompts, and how many corrections there may be.
        batch: its clips.
        rng: of the batch, also for where the clicks go.
    """
    kinds = list(shape.prompts)
    first = kinds[rng.choice(len(kinds), p=list(shape.prompts.values()))]
    seen = batch.masks.flatten(2).any(dim=2).all(dim=1).cpu().numpy()
    known = batch.known.any(dim=1).cpu().numpy()
    showing = 1 + np.flatnonzero(seen[1:])
    more = int(rng.integers(1, shape.prompted_frames, endpoint=True)) - 1
    prompted = rng.choice(showing, size=max(0, min(more, len(showing), known[1:].sum() - 1)), replace=False)
    possible = np.flatnonzero(known)
    count = min(int(rng.integers(0, shape.corrected_frames, endpoint=True)), len(possible))
    corrected = rng.choice(possible, size=count, replace=False)
    return Interaction(
        first,
        frozenset(corrected.tolist()),
        shape.corrections,
        shape.lasting_corrections,
        (0, *prompted.tolist()),
        rng,
    )
