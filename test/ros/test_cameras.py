"""The camera nodes as processes: what they publish, in which order, under which headers, and how they end."""

from __future__ import annotations

import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from PIL import Image as PillowImage
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from sam2_core.video import VideoWriter
from sam2_ros.images import rgb_from_compressed, rgb_from_image
from sam2_ros.processes import ProcessDiedError, Programs, ros_arguments

PATIENCE = 180.0  # [s]
FRAMES, RATE = 10, 50


class Listener:
    """Keeps every message of some topics."""

    def __init__(self, node: Node, executor: SingleThreadedExecutor) -> None:
        self.messages: dict[str, list[Any]] = defaultdict(list)
        self._node, self._executor = node, executor

    def listen(self, kind: type, topic: str) -> None:
        qos = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._node.create_subscription(kind, topic, self.messages[topic].append, qos)

    def wait_for(self, what: Callable[[], bool]) -> None:
        """Receives until a condition holds."""
        end = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < end, {topic: len(got) for topic, got in self.messages.items()}
            self._executor.spin_once(timeout_sec=0.1)


@pytest.fixture
def listener() -> Iterator[Listener]:
    context = Context()
    rclpy.init(context=context)
    node = Node("listener", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    yield Listener(node, executor)
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    with Programs(tmp_path / "logs") as running:
        yield running


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Ten frames whose brightness tells their number."""
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, RATE) as writer:
        for index in range(FRAMES):
            writer.write(shade(index), index * 1_000_000_000 // RATE)
    return path


def shade(index: int) -> np.ndarray:
    return np.full((48, 64, 3), 20 + 20 * index, np.uint8)


def number(image: np.ndarray) -> int:
    return round((float(image.mean()) - 20) / 20)


def stamp(message: Any) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def play(programs: Programs, source: Path, /, **parameters: object) -> Any:
    return programs.start(
        "video publisher",
        "sam2_ros.video_publisher",
        ros_arguments({"source": str(source), "wait_for_subscribers": 1, **parameters}),
    )


def test_a_video_plays_in_order_and_starts_over(clip: Path, programs: Programs, listener: Listener) -> None:
    listener.listen(Image, "/camera/image_raw")
    camera = play(programs, clip, frames=25)
    images = listener.messages["/camera/image_raw"]
    listener.wait_for(lambda: len(images) == 25)
    assert [number(rgb_from_image(image)) for image in images] == [i % FRAMES for i in range(25)]
    stamps = [stamp(image) for image in images]
    assert stamps == sorted(set(stamps))
    assert images[0].encoding == "rgb8"
    assert images[0].header.frame_id == "camera_optical_frame"
    listener.wait_for(lambda: camera.finished)


def test_once_means_once_and_not_faster_than_asked(
    clip: Path, programs: Programs, listener: Listener
) -> None:
    listener.listen(Image, "/camera/image_raw")
    camera = play(programs, clip, loop=False, rate=20.0)
    listener.wait_for(lambda: camera.finished)
    images = listener.messages["/camera/image_raw"]
    listener.wait_for(lambda: len(images) == FRAMES)
    assert (stamp(images[-1]) - stamp(images[0])) * 1e-9 > 0.9 * (FRAMES - 1) / 20.0


def test_compressed_images_and_camera_info(clip: Path, programs: Programs, listener: Listener) -> None:
    listener.listen(CompressedImage, "/camera/image_raw/compressed")
    listener.listen(CameraInfo, "/camera/camera_info")
    play(programs, clip, loop=False, focal_length=50.0)
    images, infos = (listener.messages[f"/camera/{name}"] for name in ("image_raw/compressed", "camera_info"))
    listener.wait_for(lambda: len(images) == FRAMES and len(infos) == FRAMES)
    assert [number(rgb_from_compressed(image)) for image in images] == list(range(FRAMES))
    assert [stamp(info) for info in infos] == [stamp(image) for image in images]
    assert (infos[0].width, infos[0].height) == (64, 48)
    assert list(infos[0].k) == [50.0, 0.0, 31.5, 0.0, 50.0, 23.5, 0.0, 0.0, 1.0]


def test_a_folder_plays_and_is_not_calibrated(tmp_path: Path, programs: Programs, listener: Listener) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(3):
        PillowImage.fromarray(shade(index)).save(folder / f"{index}.png")
    listener.listen(Image, "/camera/image_raw")
    listener.listen(CameraInfo, "/camera/camera_info")
    play(programs, folder, loop=False)
    images, infos = listener.messages["/camera/image_raw"], listener.messages["/camera/camera_info"]
    listener.wait_for(lambda: len(images) == 3 and len(infos) == 3)
    assert [number(rgb_from_image(image)) for image in images] == [0, 1, 2]
    assert not np.any(infos[0].k)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "no such file"), (b"not a film", "not a readable video"), (b"", "not a readable video")],
)
def test_an_unplayable_source_is_one_clear_line(
    content: bytes | None, reason: str, tmp_path: Path, programs: Programs, listener: Listener
) -> None:
    source = tmp_path / "film.mp4"
    if content is not None:
        source.write_bytes(content)
    camera = play(programs, source)
    with pytest.raises(ProcessDiedError, match=r"the video publisher died \(exit status 1\)") as death:
        listener.wait_for(lambda: camera.finished)
    assert f"error: {source}: {reason}" in str(death.value)
    assert "Traceback" not in str(death.value)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [({"rate": -1.0}, "rate"), ({"frames": "many"}, "frames"), ({"source": ""}, "source")],
)
def test_a_wrong_parameter_is_named_in_one_line(
    parameters: dict[str, object], named: str, clip: Path, programs: Programs, listener: Listener
) -> None:
    camera = play(programs, clip, **parameters)
    with pytest.raises(ProcessDiedError, match=rf"error: .*{named}") as death:
        listener.wait_for(lambda: camera.finished)
    assert "Traceback" not in str(death.value)


def test_ctrl_c_ends_an_endless_camera_cleanly(clip: Path, programs: Programs, listener: Listener) -> None:
    listener.listen(Image, "/camera/image_raw")
    camera = play(programs, clip)
    listener.wait_for(lambda: len(listener.messages["/camera/image_raw"]) > FRAMES)
    camera.process.send_signal(signal.SIGINT)
    listener.wait_for(lambda: camera.finished)


def test_everything_of_a_simulated_frame_has_one_header(programs: Programs, listener: Listener) -> None:
    kinds = {"image_raw": Image, "depth": Image, "ground_truth/labels": Image, "camera_info": CameraInfo}
    for name, kind in kinds.items():
        listener.listen(kind, f"/camera/{name}")
    parameters = {"frames": 12, "clip_frames": 8, "objects": 2, "rate": 10.0, "wait_for_subscribers": 1}
    camera = programs.start("camera simulator", "sam2_ros.camera_simulator", ros_arguments(parameters))
    images, depths, labels, infos = (listener.messages[f"/camera/{name}"] for name in kinds)
    listener.wait_for(lambda: min(map(len, (images, depths, labels, infos))) == 12)
    listener.wait_for(lambda: camera.finished)
    for per_frame in zip(images, depths, labels, infos, strict=True):
        assert len({(stamp(message), message.header.frame_id) for message in per_frame}) == 1
    assert [message.encoding for message in (images[0], depths[0], labels[0])] == ["rgb8", "32FC1", "mono8"]
    size = (infos[0].height, infos[0].width)
    assert all((message.height, message.width) == size for message in (images[0], depths[0], labels[0]))

    values = np.frombuffer(labels[0].data, np.uint8)
    assert set(values) == {0, 1, 2}
    metres = np.frombuffer(depths[0].data, np.float32)
    assert np.median(metres[values == 1]) < np.median(metres[values == 0]) < 20.0
    assert infos[0].k[0] == infos[0].k[4] > 0.0
    assert bytes(images[0].data) == bytes(images[8].data) != bytes(images[4].data), "the clip repeats"
