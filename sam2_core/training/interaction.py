"""The simulated user of a batch, drawn at random."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from sam2_core.training.config import BatchShape
from sam2_core.training.rollout import Interaction


def draw_interaction(shape: BatchShape, known: Tensor, rng: np.random.Generator) -> Interaction:
    """How the objects of a batch are prompted (SAM 2, appendix D.2.1).

    Args:
        shape: the kinds of first prompts, and how many corrections there may be.
        known: bool [T, N]; only frames with ground truth can be corrected.
        rng: of the batch, also for where the clicks go.
    """
    kinds = list(shape.prompts)
    first = kinds[rng.choice(len(kinds), p=list(shape.prompts.values()))]
    possible = np.flatnonzero(known.any(dim=1).cpu().numpy())
    count = min(int(rng.integers(0, shape.corrected_frames, endpoint=True)), len(possible))
    corrected = rng.choice(possible, size=count, replace=False)
    return Interaction(
        first, frozenset(corrected.tolist()), shape.corrections, shape.lasting_corrections, rng
    )
