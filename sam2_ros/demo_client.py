"""The demo's user: clicks every object once, through the tracker's services."""

from __future__ import annotations

import json
import queue
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from sam2_core.video import FrameReader
from sam2_ros.camera_node import CAMERA_QOS
from sam2_ros.clicking import Point, choose_things, grid, inner_point
from sam2_ros.client import PromptClient, RequestRefusedError
from sam2_ros.conversions import mask_from_message, nanoseconds, point_prompt_message
from sam2_ros.demo_report import Click
from sam2_ros.held_images import HeldImages
from sam2_ros.images import gray_from_image, rgb_from_image
from sam2_ros.msg import ObjectMasks

LabelledPoint = tuple[Point, str]

_CLICKABLE = 0.003  # share of the image that an object covers before it is clicked
_ANSWER = 600.0  # [s] for any answer: a large model on a small machine takes its time
_ATTEMPTS = 5  # on a busy machine the newest frame that is known here can be one that the tracker has let go


class DemoClient(Node):
    """Subscribes to `image`, `labels` (ground truth, if any) and `masks` (to be remapped).

    Parameters: `names` of the objects in the ground truth, of which the first `objects` are clicked; without
    names `clicks`, as "x,y" or "x,y,label"; without those the network is asked what there is, on the first
    frame of `film` or, without a film, of the camera. `clicks_file`: where the clicks are written as JSON.
    """

    def __init__(self) -> None:
        super().__init__("demo_client")
        self._count: int = self.declare_parameter("objects", 3).value
        self._names: list[str] = self.declare_parameter("names", [""]).value
        self._given: list[str] = self.declare_parameter("clicks", [""]).value
        self._film: str = self.declare_parameter("film", "").value
        self._file = Path(self.declare_parameter("clicks_file", "clicks.json").value)
        self._prompts = PromptClient(self)
        self._images, self._labels = HeldImages(), HeldImages()
        self._tracked: queue.SimpleQueue[Time] = queue.SimpleQueue()
        self._ids: dict[str, int] = {}
        self._clicks: list[Click] = []

    def click_all(self) -> None:
        """Waits for the tracker, clicks every object. Raises RequestRefusedError and TimeoutError."""
        self._prompts.wait_until_ready(_ANSWER)
        points = [_parse(text) for text in self._given if text]
        if not points and self._film:
            points = self._find_things(next(iter(FrameReader(self._film))).image)
        self.create_subscription(Image, "labels", self._labels.put, CAMERA_QOS)
        self.create_subscription(ObjectMasks, "masks", self._on_masks, 10)
        # The camera waits for those who listen to its images, so this one comes last.
        self.create_subscription(Image, "image", self._images.put, CAMERA_QOS)
        if any(self._names):
            self._click_ground_truth()
        elif points:
            self._click_points(points, self._tracked.get())
        else:
            self._click_what_the_camera_sees()

    def _on_masks(self, message: ObjectMasks) -> None:
        self._tracked.put(message.header.stamp)

    def _newest_tracked(self) -> Time:
        """The stamp of the newest tracked frame that was not given out before; waits for one."""
        stamp = self._tracked.get()
        while not self._tracked.empty():
            stamp = self._tracked.get()
        return stamp

    def _click_ground_truth(self) -> None:
        """Clicks the middle of each object when it is well in view; after a refusal, on a newer frame."""
        waiting = dict(enumerate(self._names[: self._count], start=1))
        refusals = 0
        while waiting:
            stamp = self._newest_tracked()
            message = self._labels.take(stamp)
            if message is None:
                continue
            try:
                self._click_those_in_view(gray_from_image(message), waiting, stamp)
            except RequestRefusedError as refusal:
                refusals += 1
                if refusals == _ATTEMPTS:
                    raise
                self.get_logger().warning(f"clicking again on a newer frame: {refusal}")

    def _click_those_in_view(self, labels: np.ndarray, waiting: dict[int, str], stamp: Time) -> None:
        """Takes from `waiting` (label value to name) what could be clicked."""
        for value, name in list(waiting.items()):
            mask = labels == value
            if mask.mean() >= _CLICKABLE:
                self._click(inner_point(mask), name, stamp, value)
                del waiting[value]

    def _click_what_the_camera_sees(self) -> None:
        image = None
        while image is None:
            stamp = self._newest_tracked()
            image = self._images.take(stamp)
        self._click_points(self._find_things(rgb_from_image(image)), stamp)

    def _find_things(self, rgb: np.ndarray) -> list[LabelledPoint]:
        """Lets the tracker segment around a grid of points; returns those of the most certain things."""
        height, width = rgb.shape[:2]
        points = grid(height, width)
        prompts = [point_prompt_message([point], [1]) for point in points]
        found = self._prompts.wait(self._prompts.segment(rgb, prompts), _ANSWER).masks
        masks = [mask_from_message(item.mask) for item in found]
        chosen = choose_things(masks, [item.predicted_iou for item in found], self._count)
        # Where nothing is to be seen, the middle of the image.
        return [(points[index], "") for index in chosen or [0]]

    def _click_points(self, points: list[LabelledPoint], stamp: Time) -> None:
        for point, label in points:
            self._click(point, label, stamp)

    def _click(self, point: tuple[float, float], label: str, stamp: Time, truth: int = 0) -> None:
        known = self._ids.get(label, 0) if label else 0
        request = self._prompts.add_points([point], object_id=known, label=label, stamp=stamp)
        object_id: int = self._prompts.wait(request, _ANSWER).object.id
        self._ids[label] = object_id
        self._clicks.append(Click(object_id, label, nanoseconds(stamp), *point, truth))
        self._file.write_text(json.dumps([asdict(click) for click in self._clicks]))


def _parse(text: str) -> LabelledPoint:
    x, y, *label = text.split(",", 2)
    return (float(x), float(y)), "".join(label)


def main() -> int:
    """Returns the exit status."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    client = DemoClient()
    executor = SingleThreadedExecutor()
    executor.add_node(client)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    status = 0
    try:
        client.click_all()
    except KeyboardInterrupt:
        pass
    except (RequestRefusedError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        status = 1
    executor.shutdown()
    thread.join()
    client.destroy_node()
    rclpy.shutdown()
    return status


if __name__ == "__main__":
    sys.exit(main())
