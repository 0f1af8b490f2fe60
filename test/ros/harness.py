"""The other side of the tracker: a process that runs it, and a robot that films, prompts and listens."""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from sam2_ros.client import PromptClient
from sam2_ros.images import image_from_array
from sam2_ros.msg import ObjectMasks
from sam2_ros.processes import ros_arguments

PATIENCE = 180.0  # [s] for what happens within a second on a machine that has nothing else to do
RELIABLE = QoSProfile(depth=20)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SIZE = (240, 320)
FRAME_PERIOD = 33_000_000  # [ns]


class TrackerProcess:
    """`python -m sam2_ros.node` in a namespace, with some parameters; a context manager that ends it.

    Its backend is torch, unless the parameters say otherwise: exporting for a faster one takes a minute.
    """

    def __init__(self, log: Path, parameters: Mapping[str, object], namespace: str = "/") -> None:
        self.log = log
        arguments = ros_arguments({"backend": "torch", **parameters}, {"__ns": namespace})
        command = [sys.executable, "-m", "sam2_ros.node", *arguments]
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    def text(self) -> str:
        """What it has logged so far."""
        return self.log.read_text(errors="replace")

    def end(self, *signals: signal.Signals) -> int:
        """Sends it signals, waits for its end and returns its exit status."""
        for number in signals or (signal.SIGINT,):
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def __enter__(self) -> TrackerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Inbox:
    """The messages of one topic, in order of arrival."""

    def __init__(self, node: Node, kind: type, topic: str, qos: QoSProfile) -> None:
        self._topic = topic
        self._messages: queue.Queue[Any] = queue.Queue()
        self.subscription = node.create_subscription(kind, topic, self._messages.put, qos)

    def wait_for(self, wanted: Callable[[Any], bool], timeout: float = PATIENCE) -> Any:
        """The next message of a kind; earlier ones are passed over."""
        end = time.monotonic() + timeout
        while True:
            try:
                message = self._messages.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no such message on {self._topic} within {timeout} s") from None
            if wanted(message):
                return message

    def of(self, stamp: Time) -> Any:
        """The message of a frame."""
        return self.wait_for(lambda message: message.header.stamp == stamp)

    def drain(self) -> None:
        """Passes over what has arrived."""
        while not self._messages.empty():
            self._messages.get()


class Robot:
    """A node in a thread of its own that films a moving square and talks to the tracker `sam2`."""

    def __init__(
        self,
        image_topic: str = "/camera/image_raw",
        camera: str = "",
        kind: type = Image,
        namespace: str = "",
    ) -> None:
        self.node = Node("robot")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        self.tracker = f"{namespace}/sam2"
        self.prefix = f"{self.tracker}/{camera}" if camera else self.tracker
        self.client = PromptClient(self.node, self.tracker, camera)
        self._images = self.node.create_publisher(kind, image_topic, RELIABLE)
        self._opened: list[Inbox] = []
        self.diagnostics = Inbox(self.node, DiagnosticArray, "/diagnostics", RELIABLE)
        self._status_name = f"{self.tracker}: {camera or image_topic.split('/')[-2]}"
        self._stamp = 1_000_000_000_000  # [ns]
        self.masks = Inbox(self.node, ObjectMasks, f"{self.prefix}/masks", RELIABLE)

    def meet(self) -> Robot:
        """Waits until the tracker is active and connected both ways."""
        self.client.wait_until_ready(PATIENCE)
        wait_until(lambda: self.heard, "the tracker subscribes to the images")
        self.wait_for_publisher(self.masks)
        return self

    @property
    def heard(self) -> bool:
        """Whether anyone takes its images."""
        return self._images.get_subscription_count() > 0

    def listen(self, kind: type, topic: str, qos: QoSProfile = RELIABLE) -> Inbox:
        """Opens an inbox, until `stop_listening`."""
        inbox = Inbox(self.node, kind, topic, qos)
        self._opened.append(inbox)
        return inbox

    def stop_listening(self) -> None:
        """Closes all inboxes but those that every test needs, and empties these."""
        self.diagnostics.drain()
        self.masks.drain()
        for inbox in self._opened:
            self.node.destroy_subscription(inbox.subscription)
        self._opened.clear()

    def wait_for_publisher(self, inbox: Inbox) -> None:
        wait_until(lambda: self.publishers(inbox) > 0, "the tracker offers the topic")

    def publishers(self, inbox: Inbox) -> int:
        """How many offer what an inbox takes."""
        return self.node.count_publishers(inbox.subscription.topic_name)

    def next_header(self, step: int = FRAME_PERIOD) -> Header:
        """The header of the next frame, `step` [ns] after the one before."""
        self._stamp += step
        stamp = Time(sec=self._stamp // 1_000_000_000, nanosec=self._stamp % 1_000_000_000)
        return Header(stamp=stamp, frame_id="camera_optical_frame")

    def picture(self, size: tuple[int, int] = SIZE, **fields: Any) -> Image:
        """The next frame, some of its fields changed."""
        image = image_from_array(scene(size, self._stamp), "rgb8", self.next_header())
        for name, value in fields.items():
            setattr(image, name, value)
        return image

    def publish(self, image: Any) -> None:
        self._images.publish(image)

    def film(self, image: Any = None) -> ObjectMasks:
        """Publishes a frame, the next one by default, and waits for its masks."""
        image = self.picture() if image is None else image
        self.publish(image)
        return self.masks.of(image.header.stamp)

    def call(self, future: Any) -> Any:
        """The answer to a request."""
        return self.client.wait(future, PATIENCE)

    def status(self, wanted: Callable[[DiagnosticStatus], bool], name: str = "") -> DiagnosticStatus:
        """The next diagnostics of the camera, or of another name, that fit."""
        found: list[DiagnosticStatus] = []

        def fits(message: DiagnosticArray) -> bool:
            own = [item for item in message.status if item.name == (name or self._status_name)]
            found[:] = [item for item in own if wanted(item)]
            return bool(found)

        self.diagnostics.wait_for(fits)
        return found[0]

    def close(self) -> None:
        self.client.close()
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()


def scene(size: tuple[int, int], moment: int) -> NDArray[np.uint8]:
    """A square that moves over a gradient: RGB uint8 [H, W, 3]."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=2).astype(np.uint8)
    left = moment // FRAME_PERIOD * 3 % (width // 2)
    image[height // 3 : height // 3 * 2, left : left + width // 4] = (230, 40, 30)
    return image


def wait_until(happens: Callable[[], bool], what: str, timeout: float = PATIENCE) -> None:
    """Waits for something that has no event of its own."""
    end = time.monotonic() + timeout
    while not happens():
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(0.01)


def values(status: DiagnosticStatus) -> dict[str, str]:
    """The entries of a diagnostics status."""
    return {item.key: item.value for item in status.values}
