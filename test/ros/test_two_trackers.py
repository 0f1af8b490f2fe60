"""One node with two cameras, which send compressed images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from harness import Robot, TrackerProcess, values
from sensor_msgs.msg import CompressedImage

from sam2_ros.images import jpeg_from_array, rgb_from_image
from sam2_ros.parameters import Parameters, camera_names


@pytest.fixture(scope="module")
def robots(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Robot, Robot]]:
    topics = ["/pair/front/image/compressed", "/pair/rear/image/compressed"]
    parameters = {
        "checkpoint": str(checkpoint),
        "image_topics": topics,
        "camera_names": ["front", "rear"],
        "image_transport": "compressed",
        "input_reliability": "reliable",
        "input_depth": 40,  # nothing is overwritten on its way, so that everything can be accounted for
        "diagnostics_period": 0.1,
    }
    with TrackerProcess(tmp_path_factory.mktemp("cameras") / "log.txt", parameters, "/pair"):
        front = Robot(topics[0], "front", CompressedImage, "/pair")
        rear = Robot(topics[1], "rear", CompressedImage, "/pair")
        yield front.meet(), rear.meet()
        front.close()
        rear.close()


def compressed(robot: Robot) -> CompressedImage:
    image = robot.picture()
    return jpeg_from_array(rgb_from_image(image), 90, image.header)


def test_each_camera_has_its_own_objects(robots: tuple[Robot, Robot]) -> None:
    front, rear = robots
    front.film(compressed(front))
    rear.film(compressed(rear))
    answer = front.call(front.client.add_points([(160.0, 120.0)], label="cup"))
    assert answer.object.id == 1
    image = compressed(front)
    message = front.film(image)
    assert message.header == image.header
    assert [item.label for item in message.objects] == ["cup"]
    assert rear.film(compressed(rear)).objects == []
    assert len(front.call(front.client.list()).objects) == 1
    assert rear.call(rear.client.list()).objects == []
    front.call(front.client.reset())
    assert front.film(compressed(front)).objects == []


def test_one_camera_is_served_while_the_other_floods(robots: tuple[Robot, Robot]) -> None:
    front, rear = robots
    flood = [compressed(front) for _ in range(30)]
    image = compressed(rear)
    for item in flood[:15]:
        front.publish(item)
    rear.publish(image)
    for item in flood[15:]:
        front.publish(item)
    rear.masks.of(image.header.stamp)
    front.masks.of(flood[-1].header.stamp)

    def all_accounted_for(status: DiagnosticStatus) -> bool:
        entries = values(status)
        dropped = sum(int(value) for key, value in entries.items() if key.startswith("dropped: "))
        return int(entries["frames received"]) == int(entries["frames tracked"]) + dropped >= len(flood)

    front.status(all_accounted_for)


@pytest.mark.parametrize(
    ("topics", "names"),
    [
        (["/camera/image_raw"], ["camera"]),
        (["/front/image_raw", "/rear/image_raw"], ["front", "rear"]),
        (["/left/camera/image", "/right/camera/image"], ["left_camera_image", "right_camera_image"]),
        (["image", "~/other"], ["image", "other"]),
    ],
)
def test_cameras_are_named_after_their_topics(topics: list[str], names: list[str]) -> None:
    assert camera_names(Parameters(image_topics=topics)) == names
