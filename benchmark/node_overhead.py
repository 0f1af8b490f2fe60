"""What the node costs beside the network: receiving, converting and publishing, in one and the same run.

A camera and a listener to every output run in processes of their own; the node runs in this one, so that
the clocks of its threads can be read:

    python benchmark/node_overhead.py [--frames 300] [--objects 3] [--checkpoint FILE] [--device cuda]

Prints, as medians per frame: the time in the tracker (preprocessing and network), the time in which the
inference thread does anything else (conversion, masks, drawing, publication), the CPU time of the thread
that receives, and the share of the last two in the whole.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from tqdm import tqdm

from sam2_ros.client import PromptClient
from sam2_ros.images import image_from_array
from sam2_ros.msg import ObjectMasks, ObjectVisibility
from sam2_ros.node import Sam2Node
from sam2_ros.processes import isolated_environment

HEIGHT, WIDTH = 480, 640
RATE = 30.0  # [Hz]
WINDOW = 5.0  # of the node's statistics [s]
TOPIC = "/camera/image_raw"
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


def film() -> None:
    """Publishes coloured squares that move over noise, until it is killed."""
    rclpy.init()
    node = Node("camera")
    publisher = node.create_publisher(Image, TOPIC, BEST_EFFORT)
    background = np.random.default_rng(0).integers(0, 90, (HEIGHT, WIDTH, 3), np.uint8)
    for count in itertools.count():
        image = background.copy()
        for index, colour in enumerate([(230, 40, 30), (40, 200, 60), (60, 90, 240), (230, 210, 50)]):
            left = 20 + 150 * index + round(20 * np.sin(count / 15))
            image[160:320, left : left + 110] = colour
        header = Header(stamp=node.get_clock().now().to_msg(), frame_id="camera")
        publisher.publish(image_from_array(image, "rgb8", header))
        time.sleep(1 / RATE)


def listen(objects: int) -> None:
    """Subscribes to every output, without looking at what arrives, until it is killed."""
    rclpy.init()
    node = Node("listener")
    topics: dict[str, type] = {
        "masks": ObjectMasks,
        "labels": Image,
        "overlay": Image,
        "overlay/compressed": CompressedImage,
    }
    for number in range(1, objects + 1):
        topics[f"objects/id_{number}/mask"] = Image
        topics[f"objects/id_{number}/visibility"] = ObjectVisibility
    for name, kind in topics.items():
        node.create_subscription(kind, f"/sam2/{name}", lambda _: None, BEST_EFFORT, raw=True)
    rclpy.spin(node)


def measure(frames: int, objects: int, checkpoint: str, device: str) -> dict[str, float | str]:
    """Runs the node until it has tracked some frames; prints and returns where the time went."""
    rclpy.init()
    overrides = {"image_topics": [TOPIC], "checkpoint": checkpoint, "device": device}
    node = Sam2Node(parameter_overrides=[Parameter(name, value=value) for name, value in overrides.items()])
    for transition in (node.trigger_configure, node.trigger_activate):
        if transition() != TransitionCallbackReturn.SUCCESS:
            raise SystemExit("the node does not start; its log says why")
    assert node._loaded is not None
    backend = node._loaded.identity["backend"]
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    receiver = threading.Thread(target=executor.spin)
    receiver.start()
    statistics = node.camera("camera").statistics

    with PromptClient() as client:
        client.wait_until_ready()
        while statistics.snapshot().tracked == 0:
            time.sleep(0.05)
        for index in range(objects):
            client.wait(client.add_points([(75.0 + 150.0 * index, 240.0)]))
    time.sleep(WINDOW)  # what the statistics hold of the frames before
    warm_up = statistics.snapshot().tracked + frames // 5
    while statistics.snapshot().tracked < warm_up:
        time.sleep(0.05)

    clock = time.pthread_getcpuclockid(receiver.ident or 0)
    cpu_before, first = time.clock_gettime(clock), statistics.snapshot().tracked
    network, own = [], []
    tracked = 0
    with tqdm(total=frames, unit="frame", desc="tracking") as progress:
        while tracked < frames:
            time.sleep(0.5)
            state = statistics.snapshot()
            network.append(state.network_time)
            own.append(state.own_time)
            progress.update(state.tracked - first - tracked)
            tracked = state.tracked - first
    state = statistics.snapshot()
    receiving = 1000 * (time.clock_gettime(clock) - cpu_before) / (state.tracked - first)
    tracking, publishing = float(np.median(network)), float(np.median(own))

    executor.shutdown()
    receiver.join()
    node.release()
    node.destroy_node()
    rclpy.shutdown()
    whole = tracking + publishing + receiving
    print(f"{objects} objects at {WIDTH}x{HEIGHT}, {state.output_rate:.1f} frames/s")
    print(f"tracker (preprocessing, network)   {tracking:7.2f} ms")
    print(f"convert, draw, publish everything  {publishing:7.2f} ms")
    print(f"receive {state.received / state.tracked:.1f} images per tracked frame  {receiving:7.2f} ms CPU")
    print(f"beside the tracker: {100 * (publishing + receiving) / whole:.1f} % of {whole:.1f} ms")
    return {
        "backend": backend,
        "frames_per_second": round(state.output_rate, 2),
        "latency_median_ms": round(state.latency_median, 3),
        "latency_p95_ms": round(state.latency_p95, 3),
        "tracker_ms": round(tracking, 3),
        "publishing_ms": round(publishing, 3),
        "receiving_cpu_ms": round(receiving, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=300, help="tracked frames that are measured")
    parser.add_argument("--objects", type=int, default=3, choices=range(1, 5))
    parser.add_argument("--checkpoint", default="", help="weights; default: the bundled ones")
    parser.add_argument("--device", default="auto", help="where the network runs (the node's own choice)")
    parser.add_argument("--json", type=Path, help="where the figures are written, too")
    parser.add_argument(
        "--role", choices=["node", "camera", "listener"], default="node", help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.role == "camera":
        film()
    elif arguments.role == "listener":
        listen(arguments.objects)
    else:
        os.environ.update(isolated_environment())
        command = [sys.executable, __file__, "--objects", str(arguments.objects), "--role"]
        others = [subprocess.Popen([*command, role]) for role in ("camera", "listener")]
        try:
            found = measure(arguments.frames, arguments.objects, arguments.checkpoint, arguments.device)
            if arguments.json:
                arguments.json.write_text(json.dumps(found, indent=1) + "\n")
        finally:
            for process in others:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
