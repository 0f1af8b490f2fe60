"""The backends beside each other: each stage and the whole step, in one run, frame by frame in turn.

    . scripts/environment.sh && python benchmark/backends.py

Every backend tracks the same clip with the same weights, objects and threads. Timed are frames on which the
memory is full. Another executor is another entry in `EXECUTORS`.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from onnxruntime import GraphOptimizationLevel, SessionOptions
from tqdm import tqdm

from sam2_core.backends import Backend
from sam2_core.backends.export_cache import exported_stages
from sam2_core.backends.onnxruntime_programs import VERSION, load_programs, session_options
from sam2_core.backends.programs import stage_buckets
from sam2_core.backends.staged import StagedBackend
from sam2_core.model import CONFIGS, Sam2Network, load_network
from sam2_core.tracking import StreamingTracker

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "test" / "core"), str(ROOT / "benchmark")]

from measuring import FULL, STAGES, Spread, Timed  # noqa: E402
from random_weights import random_network  # noqa: E402
from scenario import clip  # noqa: E402
from speed import prompts  # noqa: E402


def _torch(network: Sam2Network, objects: int, threads: int) -> Backend:
    return network


def _torch_bfloat16(network: Sam2Network, objects: int, threads: int) -> Backend:
    reduced = copy.deepcopy(network)
    reduced.reduce_precision()
    return reduced


def _onnxruntime(
    network: Sam2Network,
    objects: int,
    threads: int,
    change: Callable[[SessionOptions], None] = lambda _: None,
) -> Backend:
    session = session_options(threads)
    change(session)
    folder = exported_stages(network, "fp32", stage_buckets(network.config, {1, objects}, "full"), print)
    programs, _ = load_programs(folder, network, "cpu", session)
    return StagedBackend(network, programs, "ONNX Runtime")


EXECUTORS: dict[str, Callable[[Sam2Network, int, int], Backend]] = {
    f"torch {torch.__version__}, float32": _torch,
    f"torch {torch.__version__}, bfloat16": _torch_bfloat16,
    f"ONNX Runtime {VERSION}, float32": _onnxruntime,
}


def _spinning(session: SessionOptions) -> None:
    session.add_session_config_entry("session.intra_op.allow_spinning", "1")


def _few_optimisations(session: SessionOptions) -> None:
    session.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_BASIC


def _no_arena(session: SessionOptions) -> None:
    session.enable_cpu_mem_arena = False


SESSIONS: dict[str, Callable[[SessionOptions], None]] = {
    "spinning": _spinning,
    "basic optimisations": _few_optimisations,
    "no arena": _no_arena,
}
"""ONNX Runtime, executed otherwise than `session_options` says."""


@dataclass(frozen=True)
class Row:
    """One backend with one model and so many objects."""

    model: str
    image_size: int
    objects: int
    backend: str
    step: Spread
    """Of `StreamingTracker.track`: wall time."""
    cpu: Spread
    """Likewise: time of all threads on the processor, which other programs distort least."""
    stages: dict[str, Spread]


class Runner:
    """One backend's tracker on the clip."""

    def __init__(self, backend: Backend, objects: int) -> None:
        self._backend = Timed(backend)
        self._tracker = StreamingTracker(self._backend)
        self._prompts = prompts(objects)
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def take(self, index: int, image: Any) -> None:
        """Tracks a frame; on the first one it is told what to track."""
        wall, cpu = time.perf_counter(), time.process_time()
        self._tracker.track(image, index)
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)
        if index == 0:
            for given in self._prompts:
                self._tracker.add_prompt(given.prompt)

    def row(self, network: Sam2Network, objects: int, name: str, timed: int) -> Row:
        """What the last `timed` frames took."""
        config = network.config
        step, cpu = Spread.of(self.wall[-timed:]), Spread.of(self.cpu[-timed:])
        stages = self._backend.spreads(timed)
        return Row(config.name, config.image_size, objects, name, step, cpu, stages)


def measure(network: Sam2Network, objects: int, threads: int, timed: int) -> list[Row]:
    """All backends, each with so many objects."""
    runners = {name: Runner(make(network, objects, threads), objects) for name, make in EXECUTORS.items()}
    images = clip()
    for index in tqdm(range(FULL + timed), desc=f"{network.config.name}, {objects} objects", leave=False):
        # There and back again: the clip's end does not jump to its beginning.
        there = index % (2 * len(images) - 2)
        image = images[min(there, 2 * len(images) - 2 - there)]
        for runner in runners.values():
            runner.take(index, image)
    return [runner.row(network, objects, name, timed) for name, runner in runners.items()]


def table(rows: Sequence[Row]) -> str:
    """Markdown: medians, p95 in brackets, in milliseconds; the first backend of each block is the measure."""
    heads = ["model", "px", "objects", "backend", "step", "times first", "CPU time", "times first", *STAGES]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    first: dict[tuple[str, int], Row] = {}
    for row in rows:
        base = first.setdefault((row.model, row.objects), row)
        cells = [row.model, str(row.image_size), str(row.objects), row.backend]
        for spread, other in ((row.step, base.step), (row.cpu, base.cpu)):
            cells += [f"{spread.median:.0f} ({spread.p95:.0f})", f"{other.median / spread.median:.2f}"]
        cells += [f"{spread.median:.1f} ({spread.p95:.1f})" for spread in row.stages.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", nargs="+", default=["sam2_pico", "sam2.1_hiera_tiny"], choices=list(CONFIGS)
    )
    parser.add_argument("--image-size", type=int, default=512, help="of the released models (512)")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--frames", type=int, default=20, help="timed frames (20)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--sessions", nargs="*", default=[], choices=list(SESSIONS), help="ONNX Runtime otherwise, too (none)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmark" / "results")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    for name in options.sessions:
        EXECUTORS[f"ONNX Runtime {VERSION}, {name}"] = partial(_onnxruntime, change=SESSIONS[name])
    rows: list[Row] = []
    for model in options.models:
        bundled = model == "sam2_pico"
        network = load_network(model) if bundled else random_network(model, options.image_size)
        for objects in options.objects:
            rows += measure(network, objects, options.threads, options.frames)
            # After each, since with a large model one takes minutes.
            about = {"machine": platform.processor() or platform.machine(), "threads": options.threads}
            text = json.dumps({**about, "rows": [asdict(row) for row in rows]}, indent=1) + "\n"
            (options.out / "backends.json").write_text(text)
            (options.out / "backends.md").write_text(table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
