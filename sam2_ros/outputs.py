"""The topics of one camera. Each is computed only while someone listens, and carries the image's header."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher, PublisherEventCallbacks
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from sam2_core.drawing import draw_overlay
from sam2_core.tracking import FrameResult, ObjectResult, TrackedObject
from sam2_ros.conversions import object_mask_message, tracked_object_message
from sam2_ros.images import Pixels, image_from_array, jpeg_from_array
from sam2_ros.msg import ObjectMasks, ObjectVisibility, TrackedObjects

# Reliable, so that reliable and best-effort subscribers connect. The depth bridges a slow moment of theirs.
_QOS = QoSProfile(depth=5)
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class _ObjectTopics(NamedTuple):
    mask: Publisher
    visibility: Publisher


class Outputs:
    """Publishers of one camera; `prefix` is `~/` or `~/<camera>/`. Used by the inference thread only."""

    def __init__(self, node: Node, prefix: str) -> None:
        self._node = node
        self._prefix = prefix
        self._masks = node.create_publisher(ObjectMasks, f"{prefix}masks", _QOS)
        self._labels = node.create_publisher(Image, f"{prefix}labels", _QOS)
        self._overlay = node.create_publisher(Image, f"{prefix}overlay", _QOS)
        self._compressed = node.create_publisher(CompressedImage, f"{prefix}overlay/compressed", _QOS)
        self._objects = node.create_publisher(TrackedObjects, f"{prefix}objects", _LATCHED)
        self._per_object: dict[int, _ObjectTopics] = {}

    def publish(self, header: Header, rgb: Pixels, result: FrameResult, jpeg_quality: int) -> None:
        """Publishes one tracked frame."""
        if _heard(self._masks):
            messages = [object_mask_message(item) for item in result.objects]
            self._masks.publish(ObjectMasks(header=header, objects=messages))
        for item in result.objects:
            self._publish_object(header, item)
        if _heard(self._labels):
            self._labels.publish(image_from_array(_label_image(result), "16UC1", header))
        overlay_heard, compressed_heard = _heard(self._overlay), _heard(self._compressed)
        if overlay_heard or compressed_heard:
            overlay = draw_overlay(rgb, result.objects)
            if overlay_heard:
                self._overlay.publish(image_from_array(overlay, "rgb8", header))
            if compressed_heard:
                self._compressed.publish(jpeg_from_array(overlay, jpeg_quality, header))

    def announce(self, header: Header, objects: Sequence[TrackedObject]) -> None:
        """Publishes which objects are tracked from now on, and creates and removes their topics."""
        ids = {item.id for item in objects}
        for gone in self._per_object.keys() - ids:
            self._destroy(self._per_object.pop(gone))
        for new in ids - self._per_object.keys():
            self._per_object[new] = self._create(new)
        messages = [tracked_object_message(item) for item in objects]
        self._objects.publish(TrackedObjects(header=header, objects=messages))

    def close(self) -> None:
        """Removes all topics."""
        for topics in self._per_object.values():
            self._destroy(topics)
        for publisher in (self._masks, self._labels, self._overlay, self._compressed, self._objects):
            self._node.destroy_publisher(publisher)

    def _publish_object(self, header: Header, item: ObjectResult) -> None:
        topics = self._per_object[item.id]
        if _heard(topics.mask):
            pixels = np.uint8(255) * item.mask.view(np.uint8)
            topics.mask.publish(image_from_array(pixels, "mono8", header))
        if _heard(topics.visibility):
            topics.visibility.publish(
                ObjectVisibility(
                    header=header,
                    id=item.id,
                    visible=bool(item.visible),
                    score=float(item.score),
                    predicted_iou=float(item.iou),
                )
            )

    def _create(self, object_id: int) -> _ObjectTopics:
        # Publishers without event callbacks are unknown to the executor, whose thread is another one.
        events = PublisherEventCallbacks(use_default_callbacks=False)

        def publisher(kind: type, name: str) -> Publisher:
            topic = f"{self._prefix}objects/id_{object_id}/{name}"
            return self._node.create_publisher(kind, topic, _QOS, event_callbacks=events)

        return _ObjectTopics(publisher(Image, "mask"), publisher(ObjectVisibility, "visibility"))

    def _destroy(self, topics: _ObjectTopics) -> None:
        for publisher in topics:
            self._node.destroy_publisher(publisher)


def _heard(publisher: Publisher) -> bool:
    return publisher.get_subscription_count() > 0


def _label_image(result: FrameResult) -> np.ndarray:
    """The id of the object at every pixel, uint16 [H, W], 0 for none; where two overlap, the later id."""
    labels = np.zeros(result.size, np.uint16)
    for item in result.objects:
        np.copyto(labels, np.uint16(item.id), where=item.mask)
    return labels
