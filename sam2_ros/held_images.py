"""The newest images of a topic, to be found by the stamp of a later message."""

from __future__ import annotations

from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image

_HELD_BYTES = 400_000_000  # a large model on a small machine takes seconds a frame


class HeldImages:
    """Images by stamp, as many of the newest as fit into a fixed memory."""

    def __init__(self) -> None:
        self._images: dict[tuple[int, int], Image] = {}

    def put(self, image: Image) -> None:
        """Adds an image; the oldest make room. Fits as a subscription's callback."""
        self._images[_key(image.header.stamp)] = image
        while len(self._images) * len(image.data) > _HELD_BYTES:
            del self._images[next(iter(self._images))]

    def __contains__(self, stamp: Time) -> bool:
        return _key(stamp) in self._images

    def take(self, stamp: Time) -> Image | None:
        """Removes and returns the image of a stamp, None where there is none."""
        return self._images.pop(_key(stamp), None)


def _key(stamp: Time) -> tuple[int, int]:
    return stamp.sec, stamp.nanosec
