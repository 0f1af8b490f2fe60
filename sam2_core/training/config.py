"""What one training run does, read from a YAML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FIRST_PROMPTS = ("click", "box", "mask")


@dataclass(frozen=True)
class BatchShape:
    """What one batch holds and how its objects are prompted."""

    image_size: int  # side of the network's input, pixels; smaller than the model's own learns faster
    frames: int  # frames of one clip; 1 trains the network as an image segmenter
    clips: int
    objects: int  # at most so many objects of each clip
    prompts: dict[str, float]  # probability of each kind of first prompt, summing to 1
    repeats: (
        int  # how often each object stands in the batch, prompted anew; decoding is cheaper than encoding
    )
    corrected_frames: int  # at most so many frames of a clip get a correction click


@dataclass(frozen=True)
class Stage:
    """A stretch of the run whose steps all average the gradients of batches of the same shapes."""

    steps: int
    learning_rate: float  # the highest of this stage
    affinity: float  # weight of the auxiliary loss (sam2_core.training.affinity)
    batches: tuple[BatchShape, ...]


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that, with the pool of clips, determines the trained weights."""

    model: str  # name in sam2_core.model.CONFIGS
    seed: int
    mixture: dict[str, float]  # share of each scene family of the pool; an absent family is left out
    stages: tuple[Stage, ...]
    warmup_steps: int  # the learning rate rises linearly from zero
    decay_steps: int  # the last steps, over which the learning rate falls linearly to zero
    weight_decay: float
    gradient_clip: float  # largest norm of the whole gradient
    ema_decay: float  # of the moving average of the weights, which is what is validated and exported
    validation_clips: int
    validate_every: int  # steps
    checkpoint_every: int  # steps

    @property
    def steps(self) -> int:
        """Length of the run in optimiser steps."""
        return sum(stage.steps for stage in self.stages)

    def stage(self, step: int) -> Stage:
        """The stage that step number ``step`` (from 0) belongs to."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        raise ValueError(f"the run has {self.steps} steps; there is no step {step + self.steps}")

    def learning_rate(self, step: int) -> float:
        """Warm-up, constant, linear decay: a run can be cut short by moving the decay forward."""
        rising = min(1.0, (step + 1) / self.warmup_steps)
        falling = min(1.0, (self.steps - step) / self.decay_steps)
        return self.stage(step).learning_rate * rising * falling


def load_config(path: Path) -> TrainingConfig:
    """Read a YAML file whose keys are the fields of :class:`TrainingConfig`.

    Raises:
        ValueError: a key is missing or unknown, or a prompt kind does not exist.
    """
    fields: dict[str, Any] = yaml.safe_load(path.read_text())
    try:
        stages = tuple(
            Stage(batches=tuple(BatchShape(**shape) for shape in stage.pop("batches")), **stage)
            for stage in fields.pop("stages")
        )
        config = TrainingConfig(stages=stages, **fields)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    for shape in (shape for stage in stages for shape in stage.batches):
        unknown = set(shape.prompts) - set(FIRST_PROMPTS)
        if unknown:
            raise ValueError(
                f"{path}: prompts are {', '.join(FIRST_PROMPTS)}; got {', '.join(sorted(unknown))}"
            )
    return config
