"""How many frames a second the trainer reads and learns from, on one thread; prints a Markdown table.

CPU seconds are counted, so that other programs on the machine matter little. During a run, clips are read in
processes of their own. Every case runs in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from sam2_core.heap import keep_freed_memory
from sam2_core.training.batches import ClipBatches
from sam2_core.training.config import load_config
from sam2_core.training.datasets.opening import open_datasets
from sam2_core.training.pool import render_shard
from sam2_core.training.processes import ProcessGroup
from sam2_core.training.run import TrainingRun

IMAGES = {"frames": 1, "clips": 8, "objects": 4, "corrections": 1, "prompts": {"click": 0.8, "box": 0.2}}
CLIPS = {"frames": 8, "clips": 1, "objects": 3}
CASES: list[tuple[str, int, dict[str, Any], dict[str, Any]]] = [
    ("sam2_pico", 256, IMAGES, {}),
    ("sam2_pico", 256, CLIPS, {"precision": "bfloat16"}),
    ("sam2_pico", 256, CLIPS, {"precision": "float32"}),
    ("sam2.1_hiera_tiny", 256, CLIPS, {}),
    ("sam2.1_hiera_tiny", 256, CLIPS, {"checkpointing": True}),
]


def measure(case: tuple[str, int, dict[str, Any], dict[str, Any]], pool: Path, steps: int) -> str:
    """One line of the table."""
    torch.set_num_threads(1)
    keep_freed_memory()
    model, size, shape, more = case
    settings = {
        "model": model,
        "data": [{"rendered": "procedural", "path": str(pool)}],
        "stages": [{"steps": steps + 1, "batches": [shape | {"image_size": size}]}],
        **more,
    }
    config = load_config(None, settings)
    batches = ClipBatches(config, open_datasets(config).training)
    run = TrainingRun(config, ProcessGroup("cpu"))
    run.advance({0: batches[0, 0]})  # the first step allocates
    started = time.process_time()
    drawn = [batches[step, 0] for step in range(1, steps + 1)]
    reading = time.process_time() - started
    started = time.process_time()
    for batch in drawn:
        run.advance({0: batch})
    learning = time.process_time() - started
    frames = steps * config.longest * config.stages[0].batches[0].clips
    what = "images" if config.longest == 1 else "clips of 8"
    options = ", ".join(f"{key} {value}" for key, value in more.items())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return (
        f"| {model} | {size} | {what} | {options} | {frames / reading:.0f} | {frames / learning:.2f} | "
        f"{learning / steps:.2f} | {peak:.1f} |"
    )


def main() -> None:
    """Measure every case."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--steps", type=int, default=5, help="steps that are timed (default: 5)")
    given = parser.parse_args()
    lines = [
        "| model | px | batches | options | frames read / s | frames learned / s | step [s] | memory [GB] |",
        "|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        pool = Path(folder)
        render_shard("procedural", 0, frames=16, size=256, folder=pool)
        with get_context("spawn").Pool(1, maxtasksperchild=1) as process:
            for case in tqdm(CASES, unit="case"):
                lines.append(process.apply(measure, (case, pool, given.steps)))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
