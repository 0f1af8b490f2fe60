"""Records what a tracker makes of a camera: images, masks, ground truth, and when the masks arrived."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from sam2_ros.conversions import nanoseconds
from sam2_ros.held_images import HeldImages
from sam2_ros.images import gray_from_image, rgb_from_image
from sam2_ros.msg import ObjectMask, ObjectMasks
from sam2_ros.recording import RecordedFrame, RecordedObject, RecordingWriter

_BEST_EFFORT = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)


class Recorder(Node):
    """Subscribes to `image`, `masks`, `labels` (to be remapped) and /diagnostics.

    Parameter `directory`: where the recording goes. It listens to the images only once a tracker offers
    masks, so that a camera that waits for its listeners waits for the whole chain.
    """

    def __init__(self) -> None:
        super().__init__("recorder")
        self._writer = RecordingWriter(Path(self.declare_parameter("directory", "recording").value))
        self._images = HeldImages()
        self._labels = HeldImages()
        self._pending: tuple[ObjectMasks, int] | None = None
        self._images_seen = 0
        self._diagnostics: dict[str, dict[str, str]] = {}
        self._masks = self.create_subscription(ObjectMasks, "masks", self._on_masks, 100)
        self.create_subscription(Image, "labels", self._labels.put, _BEST_EFFORT)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 100)
        self._start = self.create_timer(0.05, self._listen_to_images)

    def finish(self) -> None:
        """Completes the recording; nothing may arrive afterwards."""
        self._write_pending()
        self._writer.finish({"images_seen": self._images_seen, "diagnostics": self._diagnostics})

    def _listen_to_images(self) -> None:
        if self._masks.get_publisher_count():
            self.create_subscription(Image, "image", self._on_image, _BEST_EFFORT)
            self.destroy_timer(self._start)

    def _on_image(self, message: Image) -> None:
        self._images_seen += 1
        self._writer.note_images(self._images_seen)
        self._images.put(message)

    def _on_masks(self, message: ObjectMasks) -> None:
        # Written when the next masks arrive: by then everything else of this frame has arrived, too.
        arrival = self.get_clock().now().nanoseconds
        self._write_pending()
        self._pending = (message, arrival)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self._diagnostics[status.name] = {item.key: item.value for item in status.values}

    def _write_pending(self) -> None:
        if self._pending is None:
            return
        masks, arrival = self._pending
        self._pending = None
        image, labels = (held.take(masks.header.stamp) for held in (self._images, self._labels))
        self._writer.write(
            RecordedFrame(
                stamp=nanoseconds(masks.header.stamp),
                arrival=arrival,
                objects=tuple(_recorded(item) for item in masks.objects),
                image=None if image is None else rgb_from_image(image),
                labels=None if labels is None else gray_from_image(labels),
            )
        )


def _recorded(item: ObjectMask) -> RecordedObject:
    return RecordedObject(
        id=item.id,
        label=item.label,
        visible=item.visible,
        score=item.score,
        predicted_iou=item.predicted_iou,
        counts=item.mask.counts,
        size=(item.mask.height, item.mask.width),
    )


def main() -> None:
    """Records until SIGINT or SIGTERM."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    recorder = Recorder()
    executor = SingleThreadedExecutor()
    executor.add_node(recorder)
    while not stop.is_set():
        executor.spin_once(timeout_sec=0.1)
    recorder.finish()
    recorder.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
