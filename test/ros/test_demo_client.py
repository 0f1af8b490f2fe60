"""The client of the demo, beside a tracker whose frames and masks reach it when the test says so."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from harness import RELIABLE, Robot, wait_until
from sensor_msgs.msg import Image

from sam2_ros.conversions import nanoseconds
from sam2_ros.images import image_from_array, rgb_from_image
from sam2_ros.msg import ObjectMasks
from sam2_ros.processes import ros_arguments

HELD = 8  # frames, the node's default


@pytest.fixture
def client(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The client, which clicks one object, "square", and hears of tracked frames from the test."""
    parameters = {"objects": 1, "names": ["square"], "clicks_file": str(tmp_path / "clicks.json")}
    topics = {"image": "/camera/image_raw", "labels": "/test/labels", "masks": "/test/masks"}
    with (tmp_path / "client.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sam2_ros.demo_client", *ros_arguments(parameters, topics)],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    yield process
    process.kill()
    process.wait()


def test_a_frame_that_is_gone_is_clicked_again_when_it_is_a_newer_one(
    robot: Robot, client: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    labels = robot.node.create_publisher(Image, "/test/labels", RELIABLE)
    masks = robot.node.create_publisher(ObjectMasks, "/test/masks", RELIABLE)
    log = tmp_path / "client.log"

    def film() -> tuple[Image, ObjectMasks]:
        """The next frame: where the square is in it, and the tracker's masks."""
        picture = robot.picture()
        square = (rgb_from_image(picture) == (230, 40, 30)).all(axis=2)
        return image_from_array(square.astype(np.uint8), "mono8", picture.header), robot.film(picture)

    def tell(truth: Image, tracked: ObjectMasks) -> None:
        """Is called again and again, since the client may miss images; at the pace of a slow tracker, since
        it gives up after five refusals.
        """
        labels.publish(truth)
        masks.publish(tracked)
        time.sleep(0.1)

    old = film()
    for _ in range(HELD):
        film()

    def refused() -> bool:
        assert client.poll() is None, log.read_text()
        tell(*old)
        return "clicking again on a newer frame" in log.read_text()

    def finished() -> bool:
        tell(*film())
        return client.poll() is not None

    wait_until(refused, "the old frame is refused")
    wait_until(finished, "a newer frame is clicked")
    assert client.returncode == 0, log.read_text()
    (click,) = json.loads((tmp_path / "clicks.json").read_text())
    assert click["label"] == "square"
    assert click["stamp"] > nanoseconds(old[0].header.stamp)
    assert [item.label for item in robot.call(robot.client.list()).objects] == ["square"]
