"""What the tracker publishes for a frame, over the real middleware."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness import LATCHED, Robot, wait_until
from pycocotools import mask as coco
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from sam2_core.masks import tight_box
from sam2_core.model import load_network
from sam2_core.tracking import PointPrompt, StreamingTracker
from sam2_ros.conversions import mask_from_message
from sam2_ros.images import gray_from_image, jpeg_from_array, rgb_from_compressed, rgb_from_image
from sam2_ros.msg import ObjectVisibility, TrackedObjects
from sam2_ros.outputs import Outputs


@pytest.fixture
def two_objects(robot: Robot) -> Robot:
    robot.call(robot.client.add_points([(160.0, 120.0)], label="square"))
    robot.call(robot.client.add_box((10.0, 10.0, 60.0, 50.0)))
    return robot


def test_masks_carry_the_header_and_every_object(two_objects: Robot) -> None:
    image = two_objects.picture()
    message = two_objects.film(image)
    assert message.header == image.header
    assert [(item.id, item.label) for item in message.objects] == [(1, "square"), (2, "")]
    for item in message.objects:
        mask = mask_from_message(item.mask)
        assert mask.shape == (image.height, image.width)
        rle = {"size": [item.mask.height, item.mask.width], "counts": item.mask.counts}
        assert np.array_equal(coco.decode(rle), mask)
        x0, y0, x1, y1 = tight_box(mask) or (0, 0, 0, 0)
        box = item.box
        assert (box.x_offset, box.y_offset, box.width, box.height) == (x0, y0, x1 - x0, y1 - y0)
        assert item.visible == (item.score > 0)


def test_nothing_is_tracked_at_first(robot: Robot) -> None:
    assert robot.film().objects == []


def test_all_outputs_of_a_frame_fit_together(two_objects: Robot) -> None:
    robot = two_objects
    inboxes = {
        name: robot.listen(kind, f"{robot.prefix}/{name}")
        for name, kind in {
            "labels": Image,
            "overlay": Image,
            "overlay/compressed": CompressedImage,
            "objects/id_1/mask": Image,
            "objects/id_2/mask": Image,
            "objects/id_1/visibility": ObjectVisibility,
        }.items()
    }
    for inbox in inboxes.values():
        robot.wait_for_publisher(inbox)
    image = robot.picture()
    masks = robot.film(image)
    outputs = {name: inbox.of(image.header.stamp) for name, inbox in inboxes.items()}
    # Exactly the image's header on everything: downstream, ExactTime brings them together.
    assert all(message.header == image.header for message in outputs.values())

    first, second = (mask_from_message(item.mask) for item in masks.objects)
    for object_id, mask in ((1, first), (2, second)):
        pixels = gray_from_image(outputs[f"objects/id_{object_id}/mask"])
        assert set(np.unique(pixels)) <= {0, 255}
        assert np.array_equal(pixels == 255, mask)
    labels = outputs["labels"]
    assert labels.encoding == "16UC1"
    ids = np.frombuffer(labels.data, np.uint16).reshape(labels.height, labels.width)
    assert np.array_equal(ids, np.where(second, 2, np.where(first, 1, 0)))

    overlay = rgb_from_image(outputs["overlay"])
    untouched = overlay == rgb_from_image(image)
    assert not untouched[first].all()
    assert untouched[image.height // 2 :][~(first | second)[image.height // 2 :]].any()
    compressed = outputs["overlay/compressed"]
    assert np.array_equal(
        rgb_from_compressed(compressed), rgb_from_compressed(jpeg_from_array(overlay, 80, image.header))
    )

    visibility = outputs["objects/id_1/visibility"]
    assert (visibility.id, visibility.visible) == (1, masks.objects[0].visible)
    assert visibility.score == masks.objects[0].score
    assert visibility.predicted_iou == masks.objects[0].predicted_iou


def test_the_list_of_objects_is_latched(two_objects: Robot) -> None:
    # Subscribing after the change still gives the present list.
    late = two_objects.listen(TrackedObjects, f"{two_objects.prefix}/objects", LATCHED)
    message = late.wait_for(lambda item: len(item.objects) == 2)
    assert [item.id for item in message.objects] == [1, 2]
    # A correction changes nothing about the list, a removal does.
    two_objects.call(two_objects.client.add_points([(150.0, 120.0)], object_id=1))
    two_objects.call(two_objects.client.remove(1))
    assert [item.id for item in late.wait_for(lambda _: True).objects] == [2]


def test_the_topics_of_a_removed_object_go_away(two_objects: Robot) -> None:
    def publishers(object_id: int) -> list[int]:
        prefix = f"{two_objects.prefix}/objects/id_{object_id}"
        return [two_objects.node.count_publishers(f"{prefix}/{name}") for name in ("mask", "visibility")]

    wait_until(lambda: publishers(1) == publishers(2) == [1, 1], "each object has its topics")
    two_objects.call(two_objects.client.remove(1))
    wait_until(lambda: publishers(1) == [0, 0], "object 1 has none any more")
    assert publishers(2) == [1, 1]


def test_nothing_is_computed_for_topics_that_nobody_hears(robot: Robot, checkpoint: Path) -> None:
    tracker = StreamingTracker(load_network("sam2_pico", checkpoint))
    image = rgb_from_image(robot.picture())
    tracker.track(image, 1)
    tracker.add_prompt(PointPrompt([(160.0, 120.0)], [1]))
    result = tracker.track(image, 2)
    node = Node("quiet")
    outputs = Outputs(node, "~/")
    outputs.announce(Header(), tracker.objects)
    outputs.publish(Header(), image, result, 80)
    assert "mask" not in vars(result.objects[0]), "a mask is scaled to the image when first asked for"

    labels = robot.listen(Image, "/quiet/labels")
    robot.wait_for_publisher(labels)
    wait_until(lambda: node.count_subscribers("/quiet/labels") == 1, "the publisher knows its subscriber")
    outputs.publish(Header(), image, result, 80)
    labels.wait_for(lambda _: True)
    assert "mask" in vars(result.objects[0])
    outputs.close()
    node.destroy_node()
