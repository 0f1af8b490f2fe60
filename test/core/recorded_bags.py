"""Bags with pictures of an orange square that moves, the tool's arguments for them, and what bags hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from random_checkpoint import write_random_checkpoint
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

HEIGHT, WIDTH, COUNT = 360, 480, 30
TOPIC = "/camera/image_raw"
START = 1_700_000_000_000_000_000
STEP = 33_333_333
STORE = get_typestore(Stores.ROS2_HUMBLE)
PROMPTS = """\
prompts:
- {object: 7, label: cup, frame: 1, points: [[240, 180], [5, 5]], labels: [1, 0]}
- {object: 2, label: plate, time: 0.1, box: [100, 100, 300, 300]}
- {object: 7, frame: 5, points: [[250, 180]]}
"""


def picture(index: int) -> np.ndarray:
    image = np.random.default_rng(index).integers(0, 90, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    image[120:240, 180 + 5 * index : 300 + 5 * index] = (220, 90, 40)
    return image


def header(index: int) -> Any:
    """Stamped 5 ms before it was recorded."""
    seconds, rest = divmod(START + index * STEP - 5_000_000, 1_000_000_000)
    stamp = STORE.types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=rest)
    return STORE.types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera_optical")


def raw_image(index: int) -> Any:
    bgr = picture(index)[..., ::-1]
    return STORE.types["sensor_msgs/msg/Image"](
        header(index), HEIGHT, WIDTH, "bgr8", 0, 3 * WIDTH, np.ascontiguousarray(bgr).reshape(-1)
    )


def png_image(index: int) -> Any:
    _, data = cv2.imencode(".png", picture(index)[..., ::-1])
    return STORE.types["sensor_msgs/msg/CompressedImage"](header(index), "png", np.asarray(data).reshape(-1))


def write_bag(path: Path, storage: StoragePlugin, compressed: bool = False) -> Path:
    """The same pictures as raw and as compressed images, a topic of texts, and one without messages."""
    writer = Writer(path, version=8, storage_plugin=storage)
    if compressed:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        topics = {TOPIC: raw_image, f"{TOPIC}/compressed": png_image}
        kinds = {topic: make(0).__msgtype__ for topic, make in topics.items()}
        connections = {
            topic: writer.add_connection(topic, kind, typestore=STORE) for topic, kind in kinds.items()
        }
        for index in range(COUNT):
            for topic, make in topics.items():
                data = STORE.serialize_cdr(make(index), kinds[topic]).tobytes()
                writer.write(connections[topic], START + index * STEP, data)
        writer.add_connection("/silent", kinds[TOPIC], typestore=STORE)
        connection = writer.add_connection("/chatter", "std_msgs/msg/String", typestore=STORE)
        text = STORE.types["std_msgs/msg/String"]("hello")
        writer.write(connection, START, STORE.serialize_cdr(text, text.__msgtype__).tobytes())
    return path


def write_inputs(folder: Path) -> Path:
    """Bags of both kinds, prompts and weights."""
    write_bag(folder / "mcap", StoragePlugin.MCAP)
    write_bag(folder / "sqlite3", StoragePlugin.SQLITE3)
    (folder / "prompts.yaml").write_text(PROMPTS)
    write_random_checkpoint(folder / "pico.safetensors")
    return folder


def arguments(
    folder: Path, bag: str, out: Path, prompts: str = "prompts.yaml", topic: str = TOPIC
) -> list[str]:
    return [
        str(folder / bag),
        *("--topic", topic),
        *("--prompts", str(folder / prompts)),
        *("--checkpoint", str(folder / "pico.safetensors")),
        *("--out", str(out)),
    ]


Contents = dict[str, list[tuple[int, Any]]]


def read(path: Path) -> Contents:
    """All messages of a bag by topic, each with its time."""
    contents: Contents = {}
    with AnyReader([path]) as reader:
        for connection, stamp, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            contents.setdefault(connection.topic, []).append((stamp, message))
    return contents


def texts(messages: list[tuple[int, Any]]) -> list[tuple[int, str]]:
    """Messages of two bags to be compared; as objects they differ in type."""
    return [(stamp, str(message)) for stamp, message in messages]
