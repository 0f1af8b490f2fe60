"""What every camera of this package does: publish stamped images with their camera_info, in time."""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from sam2_core.scenes.rendering import RenderingUnavailableError
from sam2_core.video import TimedImage
from sam2_ros.images import image_from_array, jpeg_from_array
from sam2_ros.stop import Stop, heeding_signals

# Best effort as cameras are; deep enough that a reader that is late for a moment loses nothing.
CAMERA_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
_JPEG_QUALITY = 90
_ACQUAINTANCE = 1.0  # [s] in which listeners that we have discovered discover us; until then they miss images
_FAREWELL = 5.0  # [s] that the last count gets to arrive; a tenth for the last image, which nobody confirms

Frame = TypeVar("Frame", bound=TimedImage)


class CameraNode(Node, Generic[Frame], ABC):
    """Publishes `image_raw`, `image_raw/compressed`, `camera_info` and, once a second, `/diagnostics`.

    Subclasses say what is filmed (`frames`) and may publish more of each frame (`publish_frame`). The topics
    lie in the namespace `camera` unless another is given. Compressing happens only while someone listens.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, namespace="camera")
        self._stop = Stop()
        self._published = 0
        self._limit: int = self.declare_fixed("frames", 0, "frames to publish; 0: no end", 0, 2**31 - 1)
        self._frame_id: str = self.declare_fixed("frame_id", "camera_optical_frame", "frame of the images")
        self._awaited: int = self.declare_fixed(
            "wait_for_subscribers", 0, "start when so many nodes listen to the images", 0, 100
        )
        self._images = self.create_publisher(Image, "image_raw", CAMERA_QOS)
        self._compressed = self.create_publisher(CompressedImage, "image_raw/compressed", CAMERA_QOS)
        self._camera_info = self.create_publisher(CameraInfo, "camera_info", CAMERA_QOS)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(1.0, self._publish_diagnostics)

    def declare_fixed(
        self, name: str, default: Any, description: str, low: float | None = None, high: float | None = None
    ) -> Any:
        """Declares a parameter that is read once, at the start, and returns its value."""
        descriptor = ParameterDescriptor(description=description, read_only=True)
        if isinstance(default, int) and low is not None:
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        elif isinstance(default, float) and low is not None:
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        return self.declare_parameter(name, default, descriptor).value

    @abstractmethod
    def frames(self) -> Iterable[Frame]:
        """What is filmed, with rising times."""

    @abstractmethod
    def publish_frame(self, frame: Frame, header: Header) -> None:
        """Publishes everything of one frame under one header."""

    def play(self) -> None:
        """Publishes frame after frame at its time, until the frames or the wanted number end, or `stop`."""
        self._wait_for_listeners()
        origin = time.monotonic_ns()
        for frame in self.frames():
            late = time.monotonic_ns() - origin - frame.stamp
            if late < 0 and self._stop.wait(-late * 1e-9):
                break
            # After a hold-up go on at the old pace rather than catch up in a burst, which no camera does.
            origin += max(late, 0)
            self.publish_frame(frame, Header(stamp=self.get_clock().now().to_msg(), frame_id=self._frame_id))
            self._published += 1
            if self._stop.is_set() or self._published == self._limit:
                break
        self._publish_diagnostics()
        self._diagnostics.wait_for_all_acked(Duration(seconds=_FAREWELL))
        self._stop.wait(_FAREWELL / 10)
        self.get_logger().info(f"published {self._published} frames")

    def stop(self) -> None:
        """Ends `play` after the present frame; may be called from anywhere, a signal handler too."""
        self._stop.set()

    def publish_image(self, frame: TimedImage, intrinsics: np.ndarray | None, header: Header) -> None:
        """Publishes the image and its camera_info; intrinsics as `camera_info` takes them."""
        rgb = frame.image
        if self._images.get_subscription_count():
            self._images.publish(image_from_array(rgb, "rgb8", header))
        if self._compressed.get_subscription_count():
            self._compressed.publish(jpeg_from_array(rgb, _JPEG_QUALITY, header))
        self._camera_info.publish(camera_info(rgb.shape[1], rgb.shape[0], intrinsics, header))

    def _wait_for_listeners(self) -> None:
        if not self._awaited:
            return
        while self._listeners() < self._awaited and not self._stop.wait(0.02):
            pass
        self._stop.wait(_ACQUAINTANCE)

    def _listeners(self) -> int:
        return self._images.get_subscription_count() + self._compressed.get_subscription_count()

    def _publish_diagnostics(self) -> None:
        status = DiagnosticStatus(name=f"{self.get_name()}: frames", hardware_id=self.get_name())
        status.message = f"{self._published} frames published"
        status.values = [KeyValue(key="frames published", value=str(self._published))]
        header = Header(stamp=self.get_clock().now().to_msg())
        self._diagnostics.publish(DiagnosticArray(header=header, status=[status]))


def run_camera(make: Callable[[], CameraNode[Any]]) -> None:
    """The body of a camera's program: makes the node and plays it until its end, SIGINT or SIGTERM.

    Exits with status 1 and one clear line where a parameter is wrong or the source cannot be played.
    """
    # rclpy's own handler would pull the context away from under the frame that is being published.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = make()  # which may take long, and is interrupted as any Python program is
        with heeding_signals(node.stop):
            _play(node)
            rclpy.shutdown()
    except KeyboardInterrupt:
        raise SystemExit("interrupted before the first image") from None
    except (ParameterException, ValueError, RenderingUnavailableError) as error:
        raise SystemExit(f"error: {error}") from None
    finally:
        rclpy.try_shutdown()


def _play(node: CameraNode[Any]) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=_spin, args=(executor,))
    thread.start()
    try:
        node.play()
    finally:
        executor.shutdown()
        thread.join()
        node.destroy_node()


def camera_info(width: int, height: int, intrinsics: np.ndarray | None, header: Header) -> CameraInfo:
    """A pinhole camera without distortion.

    intrinsics: the camera matrix [3, 3] in pixels, the first pixel's centre at (0, 0); None where it is
    unknown, which leaves K zero: the convention for "not calibrated".
    """
    message = CameraInfo(header=header, width=width, height=height, distortion_model="plumb_bob")
    message.d = [0.0] * 5
    if intrinsics is not None:
        message.k = intrinsics.ravel()
        message.r = np.eye(3).ravel()
        message.p = np.hstack([intrinsics, np.zeros((3, 1))]).ravel()
    return message


def _spin(executor: SingleThreadedExecutor) -> None:
    with contextlib.suppress(ExternalShutdownException):
        executor.spin()
