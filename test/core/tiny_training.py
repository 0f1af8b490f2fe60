"""What the tests of training share: a small run's settings that are used by themselves, and its batches."""

from __future__ import annotations

from pathlib import Path

from sam2_core.training.batches import ClipBatch, ClipBatches
from sam2_core.training.config import TrainingConfig
from sam2_core.training.datasets.opening import open_datasets

SIZE = 64
BUNDLED = Path(__file__).parents[2] / "sam2_core" / "weights" / "sam2_pico.safetensors"
MUON = {"optimizer": "muon", "encoder_rate": 1, "layer_decay": 1, "schedule": "linear", "decay_steps": 2}


def clip_batch(config: TrainingConfig, index: tuple[int, int] = (6, 1)) -> ClipBatch:
    """The batch of a step and slot."""
    return ClipBatches(config, open_datasets(config).training)[index]
