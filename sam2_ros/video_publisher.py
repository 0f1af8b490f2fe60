"""Plays a video file, an image folder or a /dev/videoN device as a camera."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from std_msgs.msg import Header

from sam2_core.video import FrameReader, TimedImage, VideoError
from sam2_ros.camera_node import CameraNode, run_camera


class VideoPublisher(CameraNode[TimedImage]):
    """Parameter `source` says what is played; see the descriptions of the others."""

    def __init__(self) -> None:
        """Raises VideoError for a source that cannot be played."""
        super().__init__("video_publisher")
        source: str = self.declare_fixed("source", "", "video file, image folder or /dev/videoN")
        rate: float = self.declare_fixed(
            "rate", 0.0, "frames per second [Hz]; 0: the source's own", 0.0, 1000.0
        )
        self._loop: bool = self.declare_fixed("loop", True, "start over at the end")
        self._focal_length: float = self.declare_fixed(
            "focal_length", 0.0, "focal length [px] for camera_info; 0: not calibrated", 0.0, 1e6
        )
        if not source:
            raise VideoError("the parameter 'source' names no video file, image folder or /dev/videoN")
        self._reader = FrameReader(source)
        own_rate = self._reader.rate
        # How much slower than its own times the source plays; a device gives its frames when it has them.
        self._stretch = own_rate / rate if rate > 0.0 and not self._reader.is_camera else 1.0
        self.get_logger().info(f"playing {source} at {own_rate / self._stretch:.2f} Hz")

    def frames(self) -> Iterator[TimedImage]:
        start = 0
        while True:
            stamp = start
            for frame in self._reader:
                stamp = start + round(frame.stamp * self._stretch)
                yield TimedImage(frame.image, stamp)
            if not self._loop or self._reader.is_camera:
                return
            start = stamp + round(1e9 / self._reader.rate * self._stretch)

    def publish_frame(self, frame: TimedImage, header: Header) -> None:
        height, width = frame.image.shape[:2]
        f = self._focal_length
        middle = np.array([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]])
        self.publish_image(frame, middle if f > 0.0 else None, header)


def main() -> None:
    run_camera(VideoPublisher)


if __name__ == "__main__":
    main()
