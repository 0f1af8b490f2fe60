"""Resident memory of the tracker node over a long stream: real node, camera and client, in processes.

    . scripts/environment.sh && python benchmark/memory_soak.py --frames 3000 --out soak.json

Objects are tracked and all outputs of the first camera that cost memory are listened to. After the first 300
frames the memory should stay as it is: the table shows by how much the highest later value lies above it.
Where other programs press for memory, the kernel drops mapped files (libraries) from the resident memory, and
such a fall hides a growth: beside it stands the anonymous memory, in which a leak would be.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import rclpy
from memory_growth import SETTLED, growth_percent
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image
from tqdm import tqdm

from sam2_ros.camera_simulator import load_clip
from sam2_ros.msg import ObjectMasks
from sam2_ros.processes import Child, Programs, isolated_environment, ros_arguments


@dataclass(frozen=True)
class Sample:
    """Memory after so many tracked frames."""

    frames: int
    resident_mb: float
    anonymous_mb: float


def soak(frames: int, every: int, objects: int, parameters: dict[str, object], logs: Path) -> list[Sample]:
    """Tracks so many frames with so many objects; returns the node's memory after every `every` frames."""
    names = load_clip(objects).names
    topics = {
        "image": "/camera/image_raw",
        "labels": "/camera/ground_truth/labels",
        "masks": "/sam2/masks",
    }
    clicks = {"objects": objects, "names": list(names), "clicks_file": str(logs / "clicks.json")}
    with Programs(logs) as programs:
        tracker = programs.start("tracker", "sam2_ros.node", ros_arguments(parameters))
        client = programs.start("client", "sam2_ros.demo_client", ros_arguments(clicks, topics))
        camera_parameters = {"objects": objects, "wait_for_subscribers": 2}
        camera = programs.start("camera", "sam2_ros.camera_simulator", ros_arguments(camera_parameters))
        rclpy.init()
        node = Node("memory_soak")
        try:
            return _watch(node, frames, every, tracker, (client, camera))
        finally:
            node.destroy_node()
            rclpy.shutdown()


def _watch(node: Node, frames: int, every: int, tracker: Child, others: tuple[Child, ...]) -> list[Sample]:
    samples: list[Sample] = []
    with tqdm(total=frames, unit="frame") as bar:

        def on_masks(message: ObjectMasks) -> None:
            if not message.objects:
                return
            bar.update()
            if bar.n % every == 0:
                resident, anonymous = tracker.resident_memory(), anonymous_memory(tracker.process.pid)
                samples.append(Sample(bar.n, round(resident, 2), round(anonymous, 2)))

        node.create_subscription(ObjectMasks, "/sam2/masks", on_masks, 100)
        for topic in ("/sam2/labels", "/sam2/overlay", "/sam2/objects/id_1/mask"):
            node.create_subscription(Image, topic, lambda _: None, 10)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while bar.n < frames:
            executor.spin_once(timeout_sec=0.5)
            tracker.check()
            for child in others:
                _ = child.finished  # raises where it ended with an error
        executor.shutdown()
    return samples


def anonymous_memory(pid: int) -> float:
    """What of a process's resident memory is no part of a file [MB]."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="memory of the tracker node over a long stream")
    parser.add_argument(
        "--frames", type=int, default=3000, help=f"tracked frames, more than {SETTLED} (3000)"
    )
    parser.add_argument("--every", type=int, default=100, help="frames between two samples (100)")
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--checkpoint", default="", help="weights; default: the bundled model")
    parser.add_argument("--out", type=Path, help="where the curve is written as JSON")
    options = parser.parse_args()
    if options.frames < SETTLED + 2 * options.every:
        parser.error(
            f"--frames {options.frames}: at least {SETTLED + 2 * options.every} show whether it is flat"
        )
    os.environ.update(isolated_environment())
    with tempfile.TemporaryDirectory() as logs:
        parameters = {"checkpoint": options.checkpoint}
        samples = soak(options.frames, options.every, options.objects, parameters, Path(logs))
    settled = [sample for sample in samples if sample.frames >= SETTLED]
    growth = growth_percent([sample.resident_mb for sample in settled])
    anonymous = growth_percent([sample.anonymous_mb for sample in settled])
    print(f"{'frames':>8}{'resident [MB]':>16}{'anonymous [MB]':>16}")
    for sample in samples:
        print(f"{sample.frames:>8}{sample.resident_mb:>16.1f}{sample.anonymous_mb:>16.1f}")
    print(f"growth after {SETTLED} frames: resident {growth:+.2f} %, anonymous {anonymous:+.2f} %")
    if options.out:
        curve = {
            "growth_percent": round(growth, 3),
            "anonymous_growth_percent": round(anonymous, 3),
            "samples": [asdict(sample) for sample in samples],
        }
        options.out.write_text(json.dumps(curve, indent=1))


if __name__ == "__main__":
    main()
