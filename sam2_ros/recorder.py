"""Records what a tracker makes of a camera: images, masks, ground truth, and when the masks arrived."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.time import Time as Stamp
from sensor_msgs.msg import Image

from sam2_ros.held_images import HeldImages
from sam2_ros.images import gray_from_image, rgb_from_image
from sam2_ros.msg import ObjectMask, ObjectMasks
from sam2_ros.recording import Progress, RecordedFrame, RecordedObject, RecordingWriter, frames_waiting
from sam2_ros.stop import Stop, heeding_signals

_PATIENCE = 5_000_000_000  # [ns] that masks wait for the image that they belong to
_BEST_EFFORT = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)


class Recorder(Node):
    """Subscribes to `image`, `masks`, `labels` (to be remapped) and /diagnostics.

    Parameter `directory`: where the recording goes. It listens to the images only once a tracker offers
    masks, so that a camera that waits for its listeners waits for the whole chain.
    """

    def __init__(self) -> None:
        super().__init__("recorder")
        self._writer = RecordingWriter(Path(self.declare_parameter("directory", "recording").value))
        self._images, self._labels = HeldImages(), HeldImages()
        self._pending: deque[tuple[ObjectMasks, int]] = deque()  # masks and when they arrived [ns]
        self._images_seen = 0
        self._diagnostics: dict[str, dict[str, str]] = {}
        self._from_tracker = self.create_subscription(ObjectMasks, "masks", self._on_masks, 100)
        self._truth = self.create_subscription(Image, "labels", self._labels.put, _BEST_EFFORT)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 100)
        self._start = self.create_timer(0.05, self._listen_to_images)
        self.create_timer(0.2, self._note_progress)

    def finish(self) -> None:
        """Completes the recording; nothing may arrive afterwards."""
        while self._pending:
            self._write_first()
        self._note_progress()
        self._writer.finish({"images_seen": self._images_seen, "diagnostics": self._diagnostics})

    def _listen_to_images(self) -> None:
        if self.count_publishers(self._from_tracker.topic_name):
            self.create_subscription(Image, "image", self._on_image, _BEST_EFFORT)
            self.destroy_timer(self._start)

    def _on_image(self, message: Image) -> None:
        self._images_seen += 1
        self._images.put(message)

    def _on_masks(self, message: ObjectMasks) -> None:
        now = self.get_clock().now().nanoseconds
        self._pending.append((message, now))
        # Masks may overtake the image and the labels of their frame, so the frame waits for them.
        while self._pending and (
            self._complete(self._pending[0][0]) or now - self._pending[0][1] > _PATIENCE
        ):
            self._write_first()

    def _complete(self, masks: ObjectMasks) -> bool:
        stamp = masks.header.stamp
        truth_comes = self.count_publishers(self._truth.topic_name) > 0
        return stamp in self._images and (stamp in self._labels or not truth_comes)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self._diagnostics[status.name] = {item.key: item.value for item in status.values}

    def _note_progress(self) -> None:
        trackers = [status for status in self._diagnostics.values() if "frames received" in status]
        self._writer.note_progress(Progress(self._images_seen, sum(map(frames_waiting, trackers))))

    def _write_first(self) -> None:
        masks, arrival = self._pending.popleft()
        stamp = masks.header.stamp
        image, labels = self._images.take(stamp), self._labels.take(stamp)
        self._writer.write(
            RecordedFrame(
                stamp=Stamp.from_msg(stamp).nanoseconds,
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
    stop = Stop()
    with heeding_signals(stop.set):
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
