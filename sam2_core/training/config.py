"""What one training run does, read from a YAML file. Where it is silent, a run is the paper's fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from sam2_core.model import CONFIGS, PRECISIONS, read_checkpoint
from sam2_core.training.fields import build
from sam2_core.training.pool import FAMILIES

FIRST_PROMPTS = ("click", "box", "mask")
_CHOICES = {
    "optimizer": ("adamw", "muon"),
    "schedule": ("cosine", "linear", "rsqrt"),
    "precision": PRECISIONS,
    "rendered": ("", *FAMILIES),
}
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {  # in words; and the fields that are held to it
    "1 or more": (
        lambda value: value >= 1,
        "steps accumulate frames clips objects prompted_frames repeats corrections validate_every "
        "checkpoint_every",
    ),
    "0 or more": (
        lambda value: 0 <= value < math.inf,
        "seed warmup_steps decay_steps weight_decay workers validation_clips affinity corrected_frames",
    ),
    "above 0": (lambda value: 0 < value < math.inf, "learning_rate gradient_clip share"),
    "above 0, at most 1": (lambda value: 0 < value <= 1, "layer_decay smallest_object"),
    "0 to 1": (lambda value: 0 <= value <= 1, "encoder_rate focal_alpha"),
    "0 to below 1": (lambda value: 0 <= value < 1, "drop_path dropout mosaics ema_decay held_out"),
}
_FINAL_SHARE = 0.1  # of the learning rate that the cosine schedule ends with


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the value and what is allowed."""


@dataclass(frozen=True)
class DataSource:
    """Videos or images with masks. What a folder holds is recognised from what is in it."""

    path: str = ""  # folder of a dataset, COCO's JSON file, or the pool of rendered clips
    images: str = ""  # folder of the images, for COCO
    videos: str = ""  # file with the names of the videos to use, for folders as DAVIS has them; "": all
    rendered: str = ""  # family of rendered scenes; with a path they come from that pool, else they are made
    share: float = 1.0  # how often it is drawn from, beside the others
    held_out: float = 0.1  # share of its videos that are validated on instead; at least one of two
    check: bool = True  # whether all masks are read through at the start, else only names are looked at


@dataclass(frozen=True)
class BatchShape:
    """What one batch holds and how its objects are prompted."""

    image_size: int = 0  # side of the network's input, pixels; 0: the model's own; less learns faster
    frames: int = 8  # frames of one clip; 1 trains the network as an image segmenter
    clips: int = 1
    objects: int = 3  # at most so many objects of each clip
    prompts: dict[str, float] = field(  # probability of each kind of first prompt, summing to 1
        default_factory=lambda: {"mask": 0.5, "click": 0.25, "box": 0.25}
    )
    prompted_frames: int = 2  # at most so many frames, the first among them, are prompted before tracking
    repeats: int = 1  # how often each object stands in the batch, prompted anew; decoding is cheap
    corrected_frames: int = 2  # at most so many frames of a clip are corrected, clicks and boxes always
    corrections: int = 7  # clicks on a frame that is corrected, each after an answer of the model
    lasting_corrections: bool = True  # whether that frame becomes a conditioning frame (README, Corrections)


@dataclass(frozen=True)
class Stage:
    """A stretch of the run whose steps all average the gradients of batches of the same shapes."""

    steps: int = 1000
    learning_rate: float = 5e-6  # the highest of this stage
    affinity: float = 0.0  # weight of the auxiliary loss (sam2_core.training.affinity)
    batches: tuple[BatchShape, ...] = (BatchShape(),)
    accumulate: int = 1  # how many batches of each shape a step averages over; processes share them out

    @property
    def slots(self) -> tuple[BatchShape, ...]:
        """The shapes of all the batches of a step."""
        return self.batches * self.accumulate


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that, with the data, determines the trained weights."""

    model: str = ""  # name in sam2_core.model.CONFIGS; "": that of the weights
    weights: str = ""  # a checkpoint to begin with; "": random weights
    memory_anew: bool = False  # whether all of these are taken but the memory's, which start at random
    data: tuple[DataSource, ...] = ()
    validation: tuple[DataSource, ...] = ()  # what to validate on; empty: what the data hold out
    seed: int = 1
    stages: tuple[Stage, ...] = (Stage(),)
    optimizer: str = "adamw"  # or muon, for a small model from random weights
    encoder_rate: float = 0.6  # learning rate of the image encoder, as a share of the others'
    layer_decay: float = 0.9  # every layer of the encoder's trunk learns so much slower than the next one
    warmup_steps: int = 50  # the learning rate rises linearly from zero
    schedule: str = "cosine"  # or linear or rsqrt, see learning_rate
    decay_steps: int = 0  # at the end of a run whose schedule is linear or rsqrt
    weight_decay: float = 0.1
    gradient_clip: float = 0.1  # largest norm of the whole gradient
    drop_path: float = 0.0  # how often the deepest block of the encoder's trunk is left out; linear in depth
    dropout: float = 0.0  # of memory attention's activations and attention weights
    mosaics: float = 0.0  # share of the clips of several frames that become a mosaic of four of themselves
    focal_alpha: float = 0.25  # weight of the objects' pixels in the focal loss, 1 - alpha of the others
    ema_decay: float = 0.99  # of the moving average of the weights, which is what is validated and kept
    precision: str = "auto"  # of the heavy stages: bfloat16 where the device multiplies it, else float32
    checkpointing: bool = False  # compute encoder's and attention's activations again, not keeping them
    smallest_object: float = 1 / 1000  # share of the image that an object must show where it is prompted
    workers: int = 1  # processes that read and augment clips
    validation_clips: int = 12
    validate_every: int = 250  # steps
    checkpoint_every: int = 50  # steps

    @property
    def steps(self) -> int:
        """Length of the run in optimiser steps."""
        return sum(stage.steps for stage in self.stages)

    @property
    def longest(self) -> int:
        """Frames of the longest clips."""
        return max(shape.frames for stage in self.stages for shape in stage.batches)

    def stage(self, step: int) -> Stage:
        """The stage that step number ``step`` (from 0) belongs to."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        raise ValueError(f"the run has {self.steps} steps; there is no step {step + self.steps}")

    def learning_rate(self, step: int) -> float:
        """Warm-up, then what the schedule says.

        ``cosine`` falls to a tenth. ``linear`` is constant, ``rsqrt`` falls with the reciprocal square root
        of the step (Zhai et al. 2022, section 3.5; its timescale is the warm-up); both fall to zero in the
        last ``decay_steps``, and can be cut short by moving those forward.
        """
        warmup = max(self.warmup_steps, 1)
        rising = min(1.0, (step + 1) / warmup)
        if self.schedule == "cosine":
            cosine = (1 + math.cos(math.pi * step / self.steps)) / 2
            falling = _FINAL_SHARE + (1 - _FINAL_SHARE) * cosine
        else:
            falling = min(1.0, (self.steps - step) / max(self.decay_steps, 1))
            if self.schedule == "rsqrt":
                falling *= min(1.0, math.sqrt(warmup / (step + 1)))
        return self.stage(step).learning_rate * rising * falling


def load_config(path: Path | None, given: Mapping[str, Any] | None = None) -> TrainingConfig:
    """Read a YAML file whose keys are the fields of :class:`TrainingConfig`.

    Args:
        path: the file; None: no file, all is said by ``given``.
        given: keys that count more than those of the file.

    Raises:
        ConfigError: a key is unknown, or its value is not allowed.
        CheckpointError: the model is that of the weights, and they cannot be read.
        OSError: the file cannot be read.
    """
    fields: Any = {}
    try:
        if path is not None:
            fields = yaml.safe_load(path.read_text()) or {}
        if not isinstance(fields, dict):
            raise TypeError("is no mapping of keys to values")
        config = build(TrainingConfig, fields | dict(given or {}))
    except (TypeError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}" if path else str(error)) from error
    if not config.model and config.weights:
        config = replace(config, model=read_checkpoint(Path(config.weights).expanduser()).config.name)
    if fault := next(_faults(config), None):
        raise ConfigError(f"{path}: {fault}" if path else fault)
    return _with_sizes(config)


def _faults(config: TrainingConfig) -> Iterator[str]:
    if config.model not in CONFIGS:
        yield f"model is {config.model!r}; allowed: {', '.join(CONFIGS)}, or weights to tell it"
    if not config.data:
        yield "data is empty; allowed: a list of datasets"
    if not config.stages or not all(stage.batches for stage in config.stages):
        yield "stages and their batches must not be empty"
    named = {"optimizer": config.optimizer, "schedule": config.schedule, "precision": config.precision}
    for name, value in [*named.items(), *(("rendered", s.rendered) for s in _sources(config))]:
        if value not in _CHOICES[name]:
            yield f"{name} is {value!r}; allowed: {', '.join(filter(None, _CHOICES[name]))}"
    if config.optimizer == "muon" and (config.encoder_rate, config.layer_decay) != (1.0, 1.0):
        yield "encoder_rate and layer_decay must be 1 with optimizer muon, which has one rate for all"
    for source in _sources(config):
        if not source.path and not source.rendered:
            yield "a dataset needs a path, or rendered: a family of scenes"
    shapes = [shape for stage in config.stages for shape in stage.batches]
    for record in (config, *_sources(config), *config.stages, *shapes):
        yield from _out_of_range(record)
    for shape in shapes:
        yield from _shape_faults(shape)


def _out_of_range(record: object) -> Iterator[str]:
    given = vars(record)
    for words, (allowed, names) in _RANGES.items():
        for name in names.split():
            if name in given and not allowed(given[name]):
                yield f"{name} is {given[name]}; allowed: {words}"


def _shape_faults(shape: BatchShape) -> Iterator[str]:
    unknown = set(shape.prompts) - set(FIRST_PROMPTS)
    if unknown:
        yield f"prompts are {', '.join(FIRST_PROMPTS)}; got {', '.join(sorted(unknown))}"
    probabilities = shape.prompts.values()
    if any(p < 0 for p in probabilities) or not math.isclose(sum(probabilities), 1, abs_tol=1e-6):
        yield f"prompts are {shape.prompts}; allowed: probabilities, 0 or more, that sum to 1"
    if shape.frames == 1 and shape.prompts.get("mask"):
        yield "a clip of one frame cannot have a mask as its prompt: there is nothing left to predict"
    if shape.image_size < 0 or shape.image_size % 32:
        yield f"image_size is {shape.image_size}; allowed: a multiple of 32, or 0 for the model's own"


def _sources(config: TrainingConfig) -> tuple[DataSource, ...]:
    return config.data + config.validation


def _with_sizes(config: TrainingConfig) -> TrainingConfig:
    """With the model's own input size where a batch leaves it open."""
    own = CONFIGS[config.model].image_size
    stages = tuple(
        replace(stage, batches=tuple(replace(s, image_size=s.image_size or own) for s in stage.batches))
        for stage in config.stages
    )
    return replace(config, stages=stages)
