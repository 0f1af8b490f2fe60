"""A whole measurement of a device in one command: JSON, a table, a plot.

    . scripts/environment.sh
    python benchmark/gpu.py --device cuda
    python benchmark/gpu.py --device cpu --models sam2_pico --objects 1 2 --frames 5 --growth-frames 100

For each model and number of objects: our tracker on a stream (latency of a frame and of its stages, frames
per second, device memory) and on a recorded clip (where a GPU encodes the next frame while it tracks on this
one); beside it, in the same run with the same weights, the official predictor (on a GPU `vos_optimized` too)
and transformers' streaming session. With it the roofline: what a frame costs at least, what the device can
do, and the share of it that we reach. Then the growth of memory over a long stream, and the node, from image
to masks.

What cannot run is reported with the reason, and the rest goes on.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_report import Row, chart, table
from measuring import FULL, Spread, Timed, there_and_back
from numpy.typing import NDArray
from programs_beside import (
    Images,
    Program,
    Steps,
    checkpoint_of,
    official,
    official_compiled,
    track,
    transformers,
)
from roofline import Rates, measure_rates, synchronise, tracking_costs
from speed import prompts

from sam2_core.backends import Backend
from sam2_core.backends.cuda_graphs import torch_backend
from sam2_core.model import CONFIGS, Sam2Network, choose_precision, load_network
from sam2_core.model.checkpoint import write_checkpoint
from sam2_core.tracking import StreamingTracker, TrackerOptions, VideoSegmenter

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "test" / "core"))

from random_weights import random_network  # noqa: E402

BESIDE: dict[str, Program] = {
    "official": official,
    "official, compiled": official_compiled,
    "transformers": transformers,
}
SETTLED = 500
"""Frames after which memory must not grow."""
COMPILING = 5
"""Frames with a full memory that compiled programs may still spend on compiling."""


class ImageFrames:
    """Images as a recorded clip."""

    def __init__(self, images: Images) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int) -> NDArray[np.uint8]:
        return self._images[index]

    def stamp(self, index: int) -> int:
        return index


def clip_steps(backend: Backend, objects: int, images: Images) -> Steps:
    """Our video segmenter."""
    segmenter = VideoSegmenter(backend, ImageFrames(images))
    for given in prompts(objects):
        segmenter.add_prompt(0, given.prompt)
    for _, result in segmenter.propagate():
        yield [one.mask for one in result.objects]


def time_steps(steps: Iterator[object], settled: int, frames: int, device: torch.device) -> list[float]:
    """Seconds of each of `frames` frames after `settled` ones."""
    for _ in islice(steps, settled):
        pass
    synchronise(device)
    seconds = []
    for _ in range(frames):
        started = time.perf_counter()
        next(steps)
        seconds.append(time.perf_counter() - started)
    return seconds


class Measurement:
    """One model on one device.

    Args:
        network: with its weights in float32, on the device.
        frames: that are timed.
        rates: of the device.
    """

    def __init__(self, network: Sam2Network, frames: int, rates: Rates) -> None:
        self._network, self._device, self._frames, self._rates = network, network.device, frames, rates
        self._settled = FULL + COMPILING
        self._images = there_and_back(self._settled + frames)
        self.ours = copy.deepcopy(network)
        if choose_precision("auto", network.config, network.device.type) == "bfloat16":
            self.ours.reduce_precision()
        self.backend = torch_backend(self.ours)

    def rows(self, objects: int, beside: list[str]) -> list[Row]:
        """Ours on a stream and on a clip, then the others."""
        timed = Timed(self.backend)
        rows = [self._row("ours, stream", objects, lambda: track(timed, objects, self._images))]
        if not rows[0].failed:
            rows[0] = self._with_roofline(rows[0], timed.spreads(self._frames))
        rows.append(self._row("ours, clip", objects, lambda: clip_steps(self.backend, objects, self._images)))
        for name in beside:
            make = BESIDE[name]
            rows.append(
                self._row(name, objects, lambda make=make: make(self._network, objects, self._images))
            )
        return rows

    def _row(self, program: str, objects: int, start: Callable[[], Steps]) -> Row:
        config, cuda = self._network.config, self._device.type == "cuda"
        print(f"{config.name}, {objects} objects: {program}", flush=True)
        row = Row(config.name, config.image_size, objects, program)
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        try:
            seconds = time_steps(start(), self._settled, self._frames, self._device)
        except Exception as error:  # of programs that are not ours: the others are to be measured still
            return row.replaced(failed=f"{type(error).__name__}: {str(error).splitlines()[0]}")
        return row.replaced(
            frame=Spread.of(seconds),
            frames_per_second=round(len(seconds) / sum(seconds), 3),
            device_mb=round(torch.cuda.max_memory_allocated() / 1e6, 1) if cuda else None,
        )

    def _with_roofline(self, row: Row, stages: dict[str, Spread]) -> Row:
        assert row.frame is not None
        costs = tracking_costs(self.ours, row.objects)
        flop, moved = sum(cost.flop for cost in costs.values()), sum(cost.bytes for cost in costs.values())
        seconds = row.frame.median / 1e3
        least = sum(max(c.flop / self._rates.flops, c.bytes / self._rates.bytes) for c in costs.values())
        return row.replaced(
            stages=stages,
            gflop=round(flop / 1e9, 2),
            gbyte=round(moved / 1e9, 4),
            share=round(flop / seconds / self._rates.flops, 4),
            bound=round(least / seconds, 4),
        )


def growth(backend: Backend, objects: int, frames: int) -> dict[str, Any]:
    """Memory over a long stream: what PyTorch has allocated on a GPU, else what the process has in RAM."""
    tracker = StreamingTracker(backend, TrackerOptions(max_objects=objects))
    images = there_and_back(22)
    settled = min(SETTLED, frames // 2)
    samples: list[tuple[int, int]] = []
    for index in range(frames):
        tracker.track(images[index % len(images)], index)
        if index == 0:
            for given in prompts(objects):
                tracker.add_prompt(given.prompt)
        if index >= settled and (index - settled) % 50 == 0:
            samples.append((index, _allocated(backend.device)))
    first = samples[0][1]
    return {
        "objects": objects,
        "frames": frames,
        "samples": samples,
        "growth_bytes": max(size for _, size in samples) - first,
    }


def _allocated(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def through_the_node(network: Sam2Network, objects: int, frames: int, device: str) -> dict[str, Any]:
    """What `node_overhead.py` finds with the same weights on the same device."""
    with tempfile.TemporaryDirectory() as folder:
        # Hugging Face's layout tells the image size too; the bundled model has no place in it.
        bundled = network.config.name == "sam2_pico"
        weights, found = Path(folder) / ("weights.pt" if bundled else "weights"), Path(folder) / "found.json"
        write_checkpoint(checkpoint_of(network), weights)
        arguments = ["--objects", str(min(objects, 4)), "--frames", str(frames), "--device", device]
        program = [sys.executable, str(ROOT / "benchmark" / "node_overhead.py"), *arguments]
        run = subprocess.run(
            [*program, "--checkpoint", str(weights), "--json", str(found)], capture_output=True, text=True
        )
        if run.returncode or not found.is_file():
            return {"failed": (run.stderr.strip().splitlines() or ["it ended without a result"])[-1]}
        measured: dict[str, Any] = json.loads(found.read_text())
        return measured


def about(device: torch.device, rates: Rates) -> dict[str, Any]:
    """The device, and what was measured on it."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": name,
        "torch": torch.__version__,
        "product_tflops": round(rates.flops / 1e12, 3),
        "copy_gbyte_per_s": round(rates.bytes / 1e9, 2),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    models = ["sam2.1_hiera_tiny", "sam2.1_hiera_base_plus", "sam2_pico"]
    add("--models", nargs="+", default=models, choices=list(CONFIGS))
    add("--image-size", type=int, help="network input [px] (each model's own)")
    add("--objects", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    add("--frames", type=int, default=100, help="timed frames (100)")
    add("--beside", nargs="*", default=list(BESIDE), choices=list(BESIDE), help="other programs (all)")
    add("--growth-frames", type=int, default=10_000, help="of the long stream; 0: none (10000)")
    add("--node-frames", type=int, default=200, help="through the node; 0: without it (200)")
    add("--threads", type=int, default=torch.get_num_threads(), help="of a CPU")
    add("--out", type=Path, default=ROOT / "benchmark" / "results")
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    beside = [name for name in options.beside if device.type == "cuda" or name != "official, compiled"]
    reduced = torch.bfloat16 if device.type == "cuda" else torch.float32
    rates = measure_rates(device, reduced)
    result: dict[str, Any] = {**about(device, rates), "rows": [], "growth": {}, "node": {}}
    rows: list[Row] = []

    def save() -> None:
        """After each part, since all of them take a while."""
        result["rows"] = [asdict(row) for row in rows]
        (options.out / "gpu.json").write_text(json.dumps(result, indent=1) + "\n")
        (options.out / "gpu.md").write_text(table(rows, result))
        chart(rows, options.out / "gpu.png")

    for model in options.models:
        if model == "sam2_pico":
            network = load_network(model, image_size=options.image_size)
        else:
            network = random_network(model, options.image_size or CONFIGS[model].image_size)
        measurement = Measurement(network.to(device), options.frames, rates)
        for objects in options.objects:
            # The others know the released models only.
            rows += measurement.rows(objects, beside if model != "sam2_pico" else [])
            save()
        if options.growth_frames:
            print(f"{model}: {options.growth_frames} frames", flush=True)
            result["growth"][model] = growth(measurement.backend, options.objects[-1], options.growth_frames)
        if options.node_frames:
            print(f"{model}: through the node", flush=True)
            result["node"][model] = through_the_node(
                network, options.objects[0], options.node_frames, options.device
            )
        save()
    print(table(rows, result))


if __name__ == "__main__":
    main()
