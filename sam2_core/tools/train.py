"""`sam2-train`: trains a network, or fine-tunes a released one on videos of one's own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..evaluation.dataset import DatasetError
from ..evaluation.mask_folders import DatasetFileError
from ..heap import keep_freed_memory
from ..model import CheckpointError
from ..training.config import ConfigError, TrainingConfig, load_config
from ..training.errors import TrainingError
from ..training.train import train
from .program import named, run_program

_DESCRIPTION = """\
Trains SAM 2 as its paper does: clips with a simulated user who prompts and corrects.

To fine-tune a checkpoint on videos of your own, name both:
  sam2-train --finetune sam2.1_hiera_tiny.pt --data my_videos/ --out run/
Everything else has the values of the paper's fine-tuning, or those of a YAML file (--config), which can say
everything: datasets and their shares, batches, prompts, learning rates. Its keys stand in docs/training.md.

FOLDER is recognised from what is in it:
  DAVIS 2017                 JPEGImages/480p/VIDEO/*.jpg    Annotations/480p/VIDEO/*.png
  MOSE, YouTube-VOS          JPEGImages/VIDEO/*.jpg         Annotations/VIDEO/*.png
  SA-V val and test          JPEGImages_24fps/VIDEO/*.jpg   Annotations_6fps/VIDEO/OBJECT/*.png
  SA-V train                 NAME.mp4                       NAME_manual.json, NAME_auto.json
  SA-1B                      NAME.jpg                       NAME.json
Frames without a mask are allowed; nothing is learned from what is not known on them. A tenth of the videos
is held out and validated on.
"""
_EPILOG = """\
written to DIR:
  model.safetensors    the trained weights: --checkpoint of every tool, checkpoint of the node
  checkpoint.pt        all that is needed to go on
  metrics.jsonl        losses, and scores on the videos that are held out
  tensorboard/         the same with pictures: tensorboard --logdir DIR
  held_out.txt         the names of those videos, for sam2-eval --videos
  faults.txt           files that could not be used, with the reason
  left_out/            batches whose loss was not finite

An interrupted run goes on, and ends with the same weights, when the same command is given again.
On several GPUs or CPU cores: torchrun --nproc-per-node N -m sam2_core.tools.train ...; a step then needs N
batches or more (accumulate in the YAML file). All processes need the same DIR.

examples:
  sam2-train --finetune sam2.1_hiera_small.pt --data my_videos/ --out run/ --steps 2000 --image-size 512
  sam2-train --config training.yaml --out run/
  sam2-eval my_videos/ --videos run/held_out.txt --checkpoint run/model.safetensors --out scores/
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status: 0, or another one after an error was told."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if not given.config and not (given.finetune and given.data):
        parser.error("name --config FILE, or --finetune CHECKPOINT and --data FOLDER, or all of them")
    return run_program(
        "sam2-train",
        lambda: _train(given),
        errors=(CheckpointError, ConfigError, DatasetError, DatasetFileError, TrainingError),
        explain=lambda error: f"cannot read or write{named(error)}: {error.strerror}",
        interrupted="the same command goes on from the last checkpoint",
    )


def _train(given: argparse.Namespace) -> None:
    keep_freed_memory()
    config = _configuration(given)
    run = train(config, given.out, device=given.device, strict=given.strict)
    print(f"{run.step} steps of {run.network.config.name}: {given.out / 'model.safetensors'}")


def _configuration(given: argparse.Namespace) -> TrainingConfig:
    """What the file says, changed by what the options say."""
    said: dict[str, Any] = {}
    if given.finetune:
        said["weights"] = str(given.finetune)
    if given.data:
        said["data"] = [{"path": str(folder)} for folder in given.data]
    config = load_config(given.config, said)
    stages = config.stages
    if given.steps or given.learning_rate:
        if len(stages) > 1:
            raise ConfigError(f"{given.config} has {len(stages)} stages: their steps and rates stand there")
        steps, rate = given.steps or stages[0].steps, given.learning_rate or stages[0].learning_rate
        stages = (replace(stages[0], steps=steps, learning_rate=rate),)
    if size := given.image_size:
        stages = tuple(
            replace(stage, batches=tuple(replace(shape, image_size=size) for shape in stage.batches))
            for stage in stages
        )
    return replace(config, stages=stages)


def _multiple_of_32(text: str) -> int:
    value = int(text)
    if value <= 0 or value % 32:
        raise argparse.ArgumentTypeError(f"{value} is not allowed: a positive multiple of 32 is")
    return value


def _positive(kind: type[float]) -> Any:
    def convert(text: str) -> float:
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not allowed: a number above 0 is")
        return value

    return convert


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sam2-train",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML file that says what to train, and how"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--finetune",
        type=Path,
        metavar="CHECKPOINT",
        help="weights to begin with: Meta's .pt, .safetensors, or a folder of Hugging Face's",
    )
    parser.add_argument(
        "--data", type=Path, action="append", metavar="FOLDER", help="dataset to train on; may be repeated"
    )
    parser.add_argument("--steps", type=_positive(int), metavar="N", help="length of the run (default: 1000)")
    parser.add_argument(
        "--learning-rate", type=_positive(float), metavar="RATE", help="the highest one (default: 5e-6)"
    )
    parser.add_argument(
        "--image-size", type=_multiple_of_32, metavar="PX", help="the network's input (default: its own)"
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU where there is one"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="stop where a file of the data cannot be used, instead of leaving it out",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
