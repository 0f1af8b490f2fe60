"""Resident memory of a process that tracks many objects through a long stream with the bundled model.

    . scripts/environment.sh && python benchmark/many_objects.py --objects 20 --frames 3000

The images are the real ones of the fidelity tests, to and fro. After the first 300 frames the memory should
stay as it is.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from memory_growth import SETTLED, growth_percent
from tqdm import tqdm

from sam2_core.model import load_network
from sam2_core.tracking import PointPrompt, StreamingTracker, TrackerOptions

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "test" / "core"))

from scenario import HEIGHT, WIDTH, clip  # noqa: E402

EVERY = 100  # frames between two samples


@dataclass(frozen=True)
class Sample:
    """The process after so many tracked frames."""

    frames: int
    resident_mb: float
    tracker_mb: float
    """Of it, what the tracker's memories hold."""
    ms_per_frame: float
    """CPU time since the sample before."""


def resident_mb() -> float:
    """Memory of this process that is in RAM [MB]."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def clicks(count: int) -> list[PointPrompt]:
    """So many clicks, spread over the image."""
    columns = -(-count // 4)
    places = [(index % columns, index // columns) for index in range(count)]
    return [PointPrompt([[(x + 0.5) * WIDTH / columns, (y + 0.5) * HEIGHT / 4]], [1]) for x, y in places]


def soak(objects: int, frames: int, image_size: int | None) -> list[Sample]:
    """Tracks so many objects through so many frames."""
    images = clip()
    images += images[-2:0:-1]
    tracker = StreamingTracker(load_network(image_size=image_size), TrackerOptions(max_objects=objects))
    tracker.track(images[0], 0)
    for prompt in clicks(objects):
        tracker.add_prompt(prompt)
    samples = []
    since = time.process_time()
    for index in tqdm(range(1, frames + 1), unit="frame"):
        tracker.track(images[index % len(images)], index)
        if index % EVERY == 0:
            elapsed, since = time.process_time() - since, time.process_time()
            samples.append(
                Sample(
                    index,
                    round(resident_mb(), 2),
                    round(tracker.memory_bytes / 1e6, 2),
                    round(1e3 * elapsed / EVERY, 1),
                )
            )
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description="memory of a process that tracks many objects")
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument("--frames", type=int, default=3000, help=f"more than {SETTLED} (3000)")
    parser.add_argument("--image-size", type=int, help="the network's input [px] (the model's own)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmark" / "results" / "many_objects.json")
    options = parser.parse_args()
    if options.frames < SETTLED + 2 * EVERY:
        parser.error(f"--frames {options.frames}: at least {SETTLED + 2 * EVERY} show whether it is flat")
    torch.set_num_threads(options.threads)
    samples = soak(options.objects, options.frames, options.image_size)
    growth = growth_percent([sample.resident_mb for sample in samples if sample.frames >= SETTLED])
    print(f"{'frames':>8}{'resident [MB]':>16}{'tracker [MB]':>16}{'ms/frame':>12}")
    for sample in samples:
        print(
            f"{sample.frames:>8}{sample.resident_mb:>16.1f}"
            f"{sample.tracker_mb:>16.1f}{sample.ms_per_frame:>12.1f}"
        )
    print(f"growth after {SETTLED} frames: {growth:+.2f} %")
    curve = [asdict(sample) for sample in samples]
    result = {"objects": options.objects, "growth_percent": round(growth, 3), "samples": curve}
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
