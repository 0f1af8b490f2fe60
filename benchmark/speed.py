"""Frames per second beside the official video predictor: same weights, clip, prompts and threads, in one run.

    . scripts/environment.sh && python benchmark/speed.py --sizes 512 1024 --objects 1 3 8

Each program, in a process of its own, first tracks until the memory of its objects is full; of the frames
after that the fastest counts, in CPU time, which other programs on the machine distort least. Each row is
kept as soon as it is there; what is asked for and kept already is measured anew with --again only.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from measuring import STAGES

from sam2_core.files import replacing
from sam2_core.heap import keep_freed_memory
from sam2_core.model import CONFIGS, Sam2Network
from sam2_core.tracking import PointPrompt, StreamingTracker

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "test" / "core"))

from official import propagation  # noqa: E402
from random_weights import random_network  # noqa: E402
from scenario import HEIGHT, WIDTH, Delegate, Given, clip  # noqa: E402

OFFICIAL, OURS = "official", "ours, "
PROGRAMS = (OFFICIAL, OURS + "float32", OURS + "bfloat16")


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
    """CPU time of a frame."""
    stages: dict[str, float]
    """Seconds of each stage; ours only."""


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
    seconds = []
    for _ in range(frames):
        started = time.process_time()
        next(passed)
        seconds.append(time.process_time() - started)
    return Row(OFFICIAL, network.config.image_size, objects, min(seconds), {})


def time_ours(network: Sam2Network, objects: int, settled: int, frames: int) -> Row:
    """Our tracker, likewise, with the heap as the tools and the node set it."""
    keep_freed_memory()
    backend = Timed(network)
    tracker = StreamingTracker(backend)
    images = clip(settled + frames)
    tracker.track(images[0], 0)
    for given in prompts(objects):
        tracker.add_prompt(given.prompt)
    for index in range(1, settled):
        tracker.track(images[index], index)
    rows = []
    for index in range(settled, settled + frames):
        backend.seconds.clear()
        started = time.process_time()
        tracker.track(images[index], index)
        seconds = time.process_time() - started
        program = OURS + network.precision
        rows.append(Row(program, network.config.image_size, objects, seconds, dict(backend.seconds)))
    return min(rows, key=lambda row: row.seconds)


def measure(
    model: str, program: str, size: int, objects: int, settled: int, frames: int, threads: int
) -> Row:
    """One row, with random weights."""
    torch.set_num_threads(threads)
    network = random_network(model, size)
    if program == OFFICIAL:
        return time_official(network, objects, settled, frames)
    if program == OURS + "bfloat16":
        network.reduce_precision()
    return time_ours(network, objects, settled, frames)


def table(rows: list[Row]) -> str:
    """Markdown: frames per second and ratios; then milliseconds by stage."""
    official = {(row.image_size, row.objects): row.seconds for row in rows if row.program == OFFICIAL}
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
    parser.add_argument("--again", action="store_true", help="measure rows anew that are kept already")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmark" / "results")
    options = parser.parse_args()
    kept = options.out / "speed.json"
    rows = [Row(**row) for row in json.loads(kept.read_text())] if kept.exists() else []
    known = {(row.image_size, row.objects, row.program): row for row in rows}
    for size, objects, program in product(options.sizes, options.objects, PROGRAMS):
        if (size, objects, program) in known and not options.again:
            continue
        print(f"{size} px, {objects} objects, {program}", flush=True)
        how = (options.model, program, size, objects, options.settled, options.frames, options.threads)
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            known[size, objects, program] = process.submit(measure, *how).result()
        rows = [known[key] for key in sorted(known, key=lambda key: (*key[:2], PROGRAMS.index(key[2])))]
        with replacing(kept) as temporary:
            temporary.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
        (options.out / "speed.md").write_text(table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
