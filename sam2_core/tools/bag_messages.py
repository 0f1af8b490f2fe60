"""The node's output messages, made without ROS from their definitions."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from ..masks import tight_box
from ..tracking import TrackedObject
from .journal import FoundObject

_SECOND = 1_000_000_000
_JPEG_QUALITY = 80


class MessageDefinitionsError(RuntimeError):
    """The package's .msg files are not installed where they belong."""


def find_definitions() -> Path:
    """The folder of the package's .msg files: of the checkout, or of the installation.

    Raises:
        MessageDefinitionsError: there is none.
    """
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    installed = [Path(prefix) / "share" / "sam2_ros" / "msg" for prefix in prefixes if prefix]
    for folder in (Path(__file__).parents[2] / "msg", *installed):
        if (folder / "ObjectMasks.msg").is_file():
            return folder
    raise MessageDefinitionsError(
        f"the definitions of sam2_ros's messages are missing; looked in {', '.join(map(str, installed))}"
    )


class Messages:
    """Makes the messages of one bag; the fields are those of msg/*.msg."""

    def __init__(self) -> None:
        self.typestore: Typestore = get_typestore(Stores.ROS2_JAZZY)
        for path in sorted(find_definitions().glob("*.msg")):
            self.typestore.register(get_types_from_msg(path.read_text(), f"sam2_ros/msg/{path.stem}"))

    def header(self, original: Any) -> Any:
        """A `std_msgs/Header` that equals one of another bag."""
        return self._make(
            "std_msgs", "Header", stamp=self._time(nanoseconds(original.stamp)), frame_id=original.frame_id
        )

    def masks(self, header: Any, objects: Iterable[FoundObject]) -> Any:
        """`ObjectMasks`."""
        return self._own("ObjectMasks", header=header, objects=[self._mask(one) for one in objects])

    def visibility(self, header: Any, one: FoundObject) -> Any:
        """`ObjectVisibility`."""
        return self._own(
            "ObjectVisibility",
            header=header,
            id=one.id,
            visible=one.visible,
            score=one.score,
            predicted_iou=one.iou,
        )

    def tracked(self, header: Any, objects: Iterable[TrackedObject]) -> Any:
        """`TrackedObjects`."""
        items = [
            self._own("TrackedObject", id=one.id, label=one.label, since=self._time(one.since))
            for one in objects
        ]
        return self._own("TrackedObjects", header=header, objects=items)

    def labels(self, header: Any, size: tuple[int, int], objects: Iterable[FoundObject]) -> Any:
        """The id of the object at every pixel as a 16UC1 image of `size` (H, W); where two overlap, the later
        id.
        """
        labels = np.zeros(size, np.uint16)
        for one in objects:
            labels[one.mask] = one.id
        return self._image(header, labels, "16UC1")

    def mask_image(self, header: Any, one: FoundObject) -> Any:
        """One object's mask as a mono8 image of 0 and 255."""
        return self._image(header, np.where(one.mask, np.uint8(255), np.uint8(0)), "mono8")

    def rgb_image(self, header: Any, rgb: NDArray[np.uint8]) -> Any:
        """An image `[H, W, 3]` as an rgb8 image."""
        return self._image(header, rgb, "rgb8")

    def jpeg(self, header: Any, rgb: NDArray[np.uint8]) -> Any:
        """An image `[H, W, 3]` as a JPEG."""
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
        return self._make(
            "sensor_msgs",
            "CompressedImage",
            header=header,
            format="rgb8; jpeg compressed bgr8",
            data=np.asarray(data, np.uint8).reshape(-1),
        )

    def _mask(self, one: FoundObject) -> Any:
        x0, y0, x1, y1 = tight_box(one.mask) or (0, 0, 0, 0)
        height, width = one.size
        box = self._make(
            "sensor_msgs",
            "RegionOfInterest",
            x_offset=x0,
            y_offset=y0,
            width=x1 - x0,
            height=y1 - y0,
            do_rectify=False,
        )
        mask = self._own("RunLengthMask", height=height, width=width, counts=one.counts)
        return self._own(
            "ObjectMask",
            id=one.id,
            label=one.label,
            visible=one.visible,
            score=one.score,
            predicted_iou=one.iou,
            box=box,
            mask=mask,
        )

    def _image(self, header: Any, pixels: NDArray[Any], encoding: str) -> Any:
        return self._make(
            "sensor_msgs",
            "Image",
            header=header,
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=int(sys.byteorder == "big"),
            step=pixels.strides[0],
            data=pixels.reshape(-1).view(np.uint8),
        )

    def _time(self, stamp: int) -> Any:
        seconds, rest = divmod(stamp, _SECOND)
        return self._make("builtin_interfaces", "Time", sec=seconds, nanosec=rest)

    def _own(self, name: str, **fields: Any) -> Any:
        return self._make("sam2_ros", name, **fields)

    def _make(self, package: str, name: str, **fields: Any) -> Any:
        return self.typestore.types[f"{package}/msg/{name}"](**fields)


def nanoseconds(stamp: Any) -> int:
    """A `builtin_interfaces/Time` as nanoseconds."""
    return int(stamp.sec) * _SECOND + int(stamp.nanosec)
