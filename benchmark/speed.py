"""Frames per second beside the official video predictor: same weights, clip, prompts and threads, in one run.

    . scripts/environment.sh && python benchmark/speed.py --sizes 512 1024 --objects 1 3 8

Each program first tracks until the memory of its objects is full; the frames after that are timed, in CPU
time, which other programs on the machine distort least.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")  # the official predictor's bars

import torch

from sam2_core.model import CONFIGS, Sam2Network
from sam2_core.tracking import PointPrompt, StreamingTracker

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "test" / "core"))

from official import propagation  # noqa: E402
from random_weights import random_network  # noqa: E402
from scenario import HEIGHT, WIDTH, Delegate, Given, clip  # noqa: E402

STAGES = ("encode_image", "attend_memory", "decode_masks", "encode_memory")


class Timed(Delegate):
    """Adds up how long each stage takes [s]."""

    def __init__(self, network: Sam2Network) -> None:
        super().__init__(network)
        self.seconds: dict[str, float] = defaultdict(float)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.backend, name)
        return self._timed(name, found) if name in STAGES else found

    def _timed(self, name: str, stage: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            started = time.process_time()
            result = stage(*arguments, **options)
            self.seconds[name] += time.process_time() - started
            return result

        return run


@dataclass(frozen=True)
class Row:
    """One program on one clip."""

    program: str
    image_size: int
    objects: int
    seconds: float
    """CPU time per frame."""
    stages: dict[str, float]
    """Seconds per frame of each stage; ours only."""


def prompts(objects: int) -> list[Given]:
    """So many objects, clicked on along a diagonal of the first frame."""
    steps = [(one + 1) / (objects + 1) for one in range(objects)]
    clicks = [PointPrompt([[WIDTH * step, HEIGHT * step]], [1]) for step in steps]
    return [Given(0, one + 1, click) for one, click in enumerate(clicks)]


def time_official(network: Sam2Network, objects: int, settled: int, frames: int) -> Row:
    """The official predictor; timed are `frames` frames after `settled` ones."""
    passed = propagation(network, clip(settled + frames), prompts(objects))
    for _ in range(settled):
        next(passed)
    started = time.process_time()
    for _ in range(frames):
        next(passed)
    seconds = (time.process_time() - started) / frames
    return Row("official", network.config.image_size, objects, seconds, {})


def time_ours(network: Sam2Network, objects: int, settled: int, frames: int) -> Row:
    """Our tracker, likewise."""
    backend = Timed(network)
    tracker = StreamingTracker(backend)
    images = clip(settled + frames)
    tracker.track(images[0], 0)
    for given in prompts(objects):
        tracker.add_prompt(given.prompt)
    for index in range(1, settled):
        tracker.track(images[index], index)
    backend.seconds.clear()
    started = time.process_time()
    for index in range(settled, settled + frames):
        tracker.track(images[index], index)
    seconds = (time.process_time() - started) / frames
    stages = {name: backend.seconds[name] / frames for name in STAGES}
    return Row(f"ours, {network.precision}", network.config.image_size, objects, seconds, stages)


def table(rows: list[Row]) -> str:
    """Markdown: frames per second and ratios; then milliseconds by stage."""
    official = {(row.image_size, row.objects): row.seconds for row in rows if row.program == "official"}
    lines = [
        "| px | objects | program | frames per CPU second | times official | "
        + " | ".join(f"{stage} [ms]" for stage in STAGES)
        + " | rest [ms] |",
        "|" + "---|" * (6 + len(STAGES)),
    ]
    for row in rows:
        ratio = official[row.image_size, row.objects] / row.seconds
        parts = [f"{1e3 * row.stages[stage]:.0f}" if row.stages else "" for stage in STAGES]
        rest = f"{1e3 * (row.seconds - sum(row.stages.values())):.0f}" if row.stages else ""
        cells = [row.image_size, row.objects, row.program, f"{1 / row.seconds:.3f}", f"{ratio:.2f}"]
        lines.append(" | ".join(["", *map(str, cells), *parts, rest, ""]).strip())
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="sam2.1_hiera_tiny", choices=list(CONFIGS))
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024], help="network inputs [px]")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3, 8])
    parser.add_argument("--settled", type=int, default=7, help="frames before the timed ones (7)")
    parser.add_argument("--frames", type=int, default=3, help="timed frames (3)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmark" / "results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows: list[Row] = []
    for size, objects in product(options.sizes, options.objects):
        print(f"{size} px, {objects} objects", flush=True)
        network = random_network(options.model, size)
        reduced = copy.deepcopy(network)
        reduced.reduce_precision()
        how = (objects, options.settled, options.frames)
        rows += [time_official(network, *how), time_ours(network, *how), time_ours(reduced, *how)]
        # After each, since at full size one takes minutes.
        (options.out / "speed.md").write_text(table(rows))
        (options.out / "speed.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
