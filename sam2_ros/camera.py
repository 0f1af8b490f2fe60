"""One camera: its newest frame, its tracker and its outputs."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from sam2_core.automatic import AutomaticMask, start_masklets
from sam2_core.tracking import (
    HeldFrame,
    MaskPrompt,
    ObjectResult,
    PointPrompt,
    StreamingTracker,
    TrackedObject,
)
from sam2_ros.conversions import nanoseconds
from sam2_ros.images import ImageError, Pixels, rgb_from_compressed, rgb_from_image
from sam2_ros.outputs import Outputs
from sam2_ros.parameters import Parameters
from sam2_ros.problems import Problems
from sam2_ros.statistics import Drop, Statistics

# A frame that is a little late was overtaken on its way, or the clock was corrected: it is dropped. Time
# itself went back, as when a bag loops, where a frame is later than that or several in a row are late.
_OVERTAKEN = 500_000_000  # [ns]
_LATE_IN_A_ROW = 3


class Camera:
    """Receives in the executor's thread, keeps the newest frame, and tracks in the inference thread.

    Methods below "inference thread" are called from there only.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        topic: str,
        prefix: str,
        tracker: StreamingTracker,
        parameters: Callable[[], Parameters],
        notify: Callable[[], None],
    ) -> None:
        """parameters: gives the present ones; notify: is called when a frame waits."""
        self.name = name
        self.topic = topic
        self.statistics = Statistics()
        self.problems = Problems(node.get_logger(), name)
        # Copies for other threads; the tracker itself belongs to the inference thread.
        self.objects: tuple[TrackedObject, ...] = ()
        self.memory_bytes = 0
        self._node = node
        self._tracker = tracker
        self._parameters = parameters
        self._notify = notify
        self._outputs = Outputs(node, prefix)
        self._lock = threading.Lock()
        self._kind: type[Image] | type[CompressedImage] = Image
        self._slot: bytes | None = None  # a serialized message
        self._subscription: Any = None
        self._headers: dict[int, Header] = {}  # of the frames that the tracker holds, by stamp [ns]
        self._size: tuple[int, int] | None = None
        self._late = 0
        self._outputs.announce(Header(), ())

    def subscribe(self) -> None:
        """Starts receiving."""
        self.statistics.begin()
        parameters = self._parameters()
        qos = QoSProfile(
            depth=parameters.input_depth,
            reliability=ReliabilityPolicy[parameters.input_reliability.upper()],
        )
        self._kind = CompressedImage if parameters.image_transport == "compressed" else Image
        # Most frames of a fast camera are overtaken: only those that are tracked are made into messages.
        self._subscription = self._node.create_subscription(
            self._kind, self.topic, self._receive, qos, raw=True
        )

    def unsubscribe(self) -> None:
        """Stops receiving; what is tracked stays."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    @property
    def silence(self) -> str:
        """What to tell about a camera that has stopped, or that never started; empty: it sends images."""
        silence = self.statistics.silence()
        if silence <= self._parameters().camera_timeout:
            return ""
        if self.statistics.received:
            return f"no image for {silence:.1f} s on {self.topic}"
        return f"no image yet on {self.topic}, {silence:.1f} s after the start"

    def check_alive(self) -> None:
        """Reports a camera that is silent."""
        if told := self.silence:
            self.problems.report("camera silent", told)

    def close(self) -> None:
        """Stops receiving and removes the outputs."""
        self.unsubscribe()
        self._outputs.close()

    def _receive(self, serialized: bytes) -> None:
        self.statistics.count_received()
        with self._lock:
            overtaken, self._slot = self._slot, serialized
        if overtaken is not None:
            self.statistics.count_dropped(Drop.NEWER)
        self._notify()

    @property
    def waiting(self) -> bool:
        """Whether a frame waits to be tracked."""
        return self._slot is not None

    # inference thread

    def track_waiting(self) -> None:
        """Tracks the waiting frame, if there is one, and publishes the results."""
        with self._lock:
            serialized, self._slot = self._slot, None
        if serialized is None:
            return
        started = time.perf_counter()
        try:
            message = deserialize_message(serialized, self._kind)
            rgb = rgb_from_image(message) if isinstance(message, Image) else rgb_from_compressed(message)
            if self._in_order(message.header):
                self._track(message.header, rgb, started)
        except ImageError as error:
            self._drop(Drop.BAD_IMAGE, str(error))
        except Exception as error:  # one frame may fail, out of GPU memory perhaps; the stream goes on
            self._drop(Drop.FAILED, repr(error))
            self._node.get_logger().debug(traceback.format_exc())

    def add_prompt(
        self,
        prompt: PointPrompt | MaskPrompt,
        object_id: int | None = None,
        label: str = "",
        stamp: int | None = None,
        clear_previous: bool = True,
    ) -> tuple[Header, ObjectResult]:
        """Adds or corrects an object; returns the header of the prompted frame and the object on it.

        stamp: of the frame that is meant [ns], None for the newest. Raises TrackingError.
        """
        newest = max(self._headers, default=-1)
        if self.waiting and (newest < 0 or (stamp is not None and stamp > newest)):
            self.track_waiting()  # the frame that is meant has arrived, but was not tracked yet
        result = self._tracker.add_prompt(
            prompt, object_id=object_id, label=label, stamp=stamp, clear_previous=clear_previous
        )
        self._announce(self._newest_header())
        return self._headers[max(self._headers) if stamp is None else stamp], result

    @contextmanager
    def keep_newest_frame(self) -> Iterator[tuple[Header, HeldFrame]]:
        """The newest frame and its header; within the context it stays promptable.

        Raises FrameNotHeldError where none has arrived.
        """
        if self.waiting and not self._headers:
            self.track_waiting()
        frame = self._tracker.held_frame()
        with self._tracker.keep(frame):
            yield self._newest_header(), frame

    def start_masklets(self, found: Sequence[AutomaticMask], frame: HeldFrame) -> Iterator[ObjectResult]:
        """Starts tracking masks of a held frame until the tracker is full; yields each new object."""
        for result in start_masklets(self._tracker, found, frame.stamp):
            self._announce(self._newest_header())
            yield result

    def remove_object(self, object_id: int) -> None:
        """Stops tracking an object. Raises UnknownObjectError."""
        self._tracker.remove_object(object_id)
        self._announce(self._newest_header())

    def reset(self) -> None:
        """Forgets all objects and frames."""
        newest = self._newest_header()
        self._tracker.reset()
        self._headers.clear()
        self._announce(newest)

    def _track(self, header: Header, rgb: Pixels, started: float) -> None:
        stamp = nanoseconds(header.stamp)
        size = rgb.shape[:2]
        if self._size not in (None, size):
            self.problems.report(
                "image size changed",
                f"from {self._size[1]}x{self._size[0]} to {size[1]}x{size[0]}; tracking goes on",
            )
        self._size = size

        before = time.perf_counter()
        result = self._tracker.track(rgb, stamp)
        network_time = time.perf_counter() - before
        self._headers[stamp] = header
        self._headers = {held: self._headers[held] for held in self._tracker.held_stamps}
        self.memory_bytes = self._tracker.memory_bytes
        self._outputs.publish(header, rgb, result, self._parameters().jpeg_quality)

        latency = (self._node.get_clock().now().nanoseconds - stamp) * 1e-9
        own_time = time.perf_counter() - started - network_time
        self.statistics.count_tracked(latency, network_time, own_time)

    def _in_order(self, header: Header) -> bool:
        """Whether a frame is newer than the last one; starts a new session where time went back."""
        behind = max(self._headers, default=-1) - nanoseconds(header.stamp)
        if behind < 0:
            self._late = 0
            return True
        if behind == 0:
            self._drop(
                Drop.REPEATED, f"two frames have the stamp {header.stamp.sec}.{header.stamp.nanosec:09d} s"
            )
            return False
        self._late += 1
        if behind <= _OVERTAKEN and self._late < _LATE_IN_A_ROW:
            self._drop(Drop.LATE, f"a frame is {behind * 1e-9:.3f} s older than the one before")
            return False
        self.problems.report("time went back", f"by {behind * 1e-9:.3f} s; all objects are forgotten")
        self._late = 0
        self.reset()
        return True

    def _announce(self, header: Header) -> None:
        if self._tracker.objects != self.objects:
            self.objects = self._tracker.objects
            self._outputs.announce(header, self.objects)

    def _newest_header(self) -> Header:
        return self._headers[max(self._headers)] if self._headers else Header()

    def _drop(self, reason: Drop, text: str) -> None:
        self.statistics.count_dropped(reason)
        self.problems.report(reason.value, text)
