"""A whole measurement of a device in one command: JSON, a table, a plot.

    . scripts/environment.sh
    python benchmark/gpu.py --device cuda
    python benchmark/gpu.py --device cpu --models sam2_pico --objects 1 2 --frames 5 --growth-frames 100

For each model and number of objects: our tracker in PyTorch, ONNX Runtime and TensorRT on a stream (latency
of a frame and of its stages, frames per second, device memory) and on a recorded clip (where a GPU encodes
the next frame while it tracks on this one); beside it, in the same run with the same weights, the official
predictor (on a GPU `vos_optimized` too) and transformers' streaming session. With it the roofline: what a
frame costs at least, what the device can do, and the share of it that we reach. Then, with the last executor
that runs, the growth of memory over a long stream, and the node, from image to masks, as `auto` has it.

What cannot run is reported with the reason, and the rest goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from gpu_report import Row, chart, table
from gpu_rows import BESIDE, EXECUTORS, Measurement
from measuring import there_and_back
from programs_beside import checkpoint_of
from roofline import Rates, measure_rates
from speed import prompts
from tqdm import tqdm

from sam2_core.backends import LoadedBackend
from sam2_core.heap import keep_freed_memory
from sam2_core.model import CONFIGS, Sam2Network, load_network
from sam2_core.model.checkpoint import write_checkpoint
from sam2_core.tracking import StreamingTracker, TrackerOptions

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "test" / "core"))

from random_weights import tracking_network  # noqa: E402

BUNDLED = "sam2_pico"
SETTLED = 500
"""Frames after which memory must not grow."""


def growth(loaded: LoadedBackend, objects: int, frames: int) -> dict[str, Any]:
    """Memory over a long stream: what PyTorch has allocated on a GPU, else what the process has in RAM."""
    device = loaded.backend.device
    tracker = StreamingTracker(loaded.backend, TrackerOptions(max_objects=objects))
    images = there_and_back(22)
    settled = min(SETTLED, frames // 2)
    samples: list[tuple[int, int]] = []
    asked = 0
    for index in tqdm(range(frames), desc=f"{objects} objects", unit="frame"):
        tracker.track(images[index % len(images)], index)
        if index == 0:
            for given in prompts(objects):
                tracker.add_prompt(given.prompt)
        if index == settled:
            asked = _asked_of_device(device)
        if index >= settled and (index - settled) % 50 == 0:
            samples.append((index, _allocated(device)))
    first = samples[0][1]
    return {
        "executor": loaded.name,
        "objects": objects,
        "frames": frames,
        "samples": samples,
        "bytes": first,
        "growth_bytes": max(size for _, size in samples) - first,
        "device_allocations": _asked_of_device(device) - asked,
    }


def _allocated(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _asked_of_device(device: torch.device) -> int:
    """How often PyTorch has had to ask the driver for memory so far, because what it holds did not do."""
    return int(torch.cuda.memory_stats(device)["num_device_alloc"]) if device.type == "cuda" else 0


def through_the_node(network: Sam2Network, objects: int, frames: int, device: str) -> dict[str, Any]:
    """What `node_overhead.py` finds with the same weights; the bundled model runs at its own image size."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        arguments = ["--objects", str(min(objects, 4)), "--frames", str(frames), "--device", device]
        if network.config.name != BUNDLED:
            weights = Path(folder) / "weights"  # Hugging Face's layout, which tells the image size too
            write_checkpoint(checkpoint_of(network), weights)
            arguments += ["--checkpoint", str(weights)]
        program = [sys.executable, str(ROOT / "benchmark" / "node_overhead.py"), *arguments]
        run = subprocess.run([*program, "--json", str(found)], stderr=subprocess.PIPE, text=True)
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
    models = ["sam2.1_hiera_tiny", "sam2.1_hiera_base_plus", BUNDLED]
    add("--models", nargs="+", default=models, choices=list(CONFIGS))
    add("--image-size", type=int, help="network input [px] (each model's own)")
    add("--objects", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    add("--frames", type=int, default=100, help="timed frames (100)")
    add("--executors", nargs="+", default=list(EXECUTORS), choices=EXECUTORS, help="of ours (all)")
    add("--beside", nargs="*", default=list(BESIDE), choices=list(BESIDE), help="other programs (all)")
    add("--growth-frames", type=int, default=10_000, help="of the long stream; 0: none (10000)")
    add("--node-frames", type=int, default=200, help="through the node; 0: without it (200)")
    add("--threads", type=int, default=torch.get_num_threads(), help="of a CPU")
    add("--workspace", type=int, default=0, help="of a layer of an engine [MiB]; 0: no limit (0)")
    add("--out", type=Path, default=ROOT / "benchmark" / "results")
    return parser.parse_args()


def main() -> None:
    options = parse()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(options.device)
    beside = [name for name in options.beside if device.type == "cuda" or name != "official, compiled"]
    rates = measure_rates(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    result: dict[str, Any] = {**about(device, rates), "rows": [], "growth": {}, "node": {}}
    rows: list[Row] = []

    def save() -> None:
        """After each part, since all of them take a while."""
        rows.sort(key=lambda row: (options.models.index(row.model), row.objects))
        result["rows"] = [asdict(row) for row in rows]
        (options.out / "gpu.json").write_text(json.dumps(result, indent=1) + "\n")
        (options.out / "gpu.md").write_text(table(rows, result))
        chart(rows, options.out / "gpu.png")

    for model in options.models:
        if model == BUNDLED:
            network = load_network(model, image_size=options.image_size)
        else:
            # Masks as sharp as trained weights make them, since engines are checked by their masks.
            size = options.image_size or CONFIGS[model].image_size
            network = tracking_network(model, there_and_back(4), size, "visible")
        measurement = Measurement(
            network.to(device), options.frames, rates, options.threads, options.workspace
        )
        last = ""
        for executor in options.executors:  # one after the other, so that no two take memory at once
            found = measurement.ours(executor, options.objects)
            rows += found
            last = executor if found[-1].executor else last
            save()
        if last and options.growth_frames:
            print(f"{model}: {options.growth_frames} frames in {last}", flush=True)
            result["growth"][model] = growth(
                measurement.load(last), options.objects[-1], options.growth_frames
            )
            save()
        if model != BUNDLED:  # the others know the released models only
            for objects in options.objects:
                rows += [measurement.beside(name, objects) for name in beside]
                save()
        if options.node_frames:
            print(f"{model}: through the node", flush=True)
            result["node"][model] = through_the_node(
                network, options.objects[0], options.node_frames, options.device
            )
            save()
    print(table(rows, result))


if __name__ == "__main__":
    main()
