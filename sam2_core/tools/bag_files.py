"""ROS 2 bags (MCAP or sqlite3) in and out, without ROS."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from ..image_encodings import ImageError, rgb_from_compressed, rgb_from_image

_READERS: dict[str, Callable[[Any], NDArray[np.uint8]]] = {
    "sensor_msgs/msg/Image": rgb_from_image,
    "sensor_msgs/msg/CompressedImage": rgb_from_compressed,
}
_UNSET = QosTime(0, 0)


class BagError(ValueError):
    """A bag cannot be read or written; the message names it, and the topic or the place."""


@dataclass(frozen=True)
class BagImage:
    """One image of a bag."""

    stamp: int
    """When it was recorded [ns]."""
    header: Any
    """The message's `std_msgs/Header`."""
    rgb: NDArray[np.uint8]
    """uint8 `[H, W, 3]`."""


class BagImages:
    """The images of one topic of a bag, in order of recording; a context manager.

    Args:
        path: the bag's folder, or a single .mcap or .db3 file.
        topic: of sensor_msgs/Image or sensor_msgs/CompressedImage.

    Raises:
        BagError: the bag cannot be opened, or has no such images.
    """

    def __init__(self, path: Path, topic: str) -> None:
        self.path = path
        if not path.exists():
            raise BagError(f"{path}: no such bag")
        try:
            # Bags of sqlite3 may come without definitions; what images consist of never changed.
            self._reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
            self._reader.open()
        except Exception as error:  # whatever a damaged file makes the reader's parsers raise
            raise BagError(f"{path}: not a readable bag ({_reason(error)})") from error
        self._connections = [one for one in self._reader.connections if one.topic == topic]
        kinds = {one.msgtype for one in self._connections}
        if not kinds or kinds - _READERS.keys():
            images = sorted({one.topic for one in self._reader.connections if one.msgtype in _READERS})
            problem = f"is {', '.join(sorted(kinds))}" if kinds else "is not in it"
            self._reader.close()
            allowed = ", ".join(images) or "none, the bag has no image topic"
            raise BagError(f"{path}: topic {topic} {problem}; allowed: {allowed}")
        self._topic = topic

    def __len__(self) -> int:
        return sum(one.msgcount for one in self._connections)

    def __iter__(self) -> Iterator[BagImage]:
        """Raises BagError where the bag is damaged, or an image cannot be decoded."""
        count = 0
        for kind, stamp, message in self._messages():
            try:
                rgb = _READERS[kind](message)
            except ImageError as error:
                raise BagError(f"{self.path}: image {count} on {self._topic}: {error}") from error
            yield BagImage(stamp, message.header, rgb)
            count += 1
        if count < len(self):
            raise BagError(f"{self.path}: ends early, after {count} of {len(self)} images on {self._topic}")

    def _messages(self) -> Iterator[tuple[str, int, Any]]:
        """Type, time of recording [ns] and content of each message."""
        messages = self._reader.messages(self._connections)
        count = 0
        while True:
            try:
                connection, stamp, data = next(messages)
                message = self._reader.deserialize(data, connection.msgtype)
            except StopIteration:
                return
            except Exception as error:  # as above
                place = f"after image {count} of {len(self)} on {self._topic}"
                raise BagError(f"{self.path}: damaged {place} ({_reason(error)})") from error
            yield connection.msgtype, stamp, message
            count += 1

    def __enter__(self) -> BagImages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()


class BagWriter:
    """Writes a bag that any ROS 2 tool opens; a context manager, which finishes the bag however it ends.

    Args:
        path: the folder to be made.
        storage: `mcap` or `sqlite3`.
        typestore: knows the messages that will be written.
        min_free: bytes that stay free on the disk, so that the bag can be finished: a chunk and the index.

    Raises:
        BagError: the folder exists.
    """

    def __init__(self, path: Path, storage: str, typestore: Typestore, min_free: int) -> None:
        if path.exists():
            raise BagError(f"{path} exists; allowed: a folder that does not, bags are not written over")
        self._path = path
        self._typestore = typestore
        self._min_free = min_free
        self._connections: dict[str, Connection] = {}
        # The newest version that the tools of Humble read.
        self._writer = Writer(path, version=8, storage_plugin=StoragePlugin[storage.upper()])

    def write(self, topic: str, message: Any, stamp: int, latched: bool = False) -> None:
        """Adds a message, recorded at `stamp` [ns].

        Raises:
            OSError: the disk is full.
        """
        if shutil.disk_usage(self._path).free < self._min_free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        kind = message.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=self._typestore, offered_qos_profiles=[_qos(latched)]
            )
        data = self._typestore.serialize_cdr(message, kind)
        try:
            self._writer.write(self._connections[topic], stamp, data)
        except sqlite3.Error as error:
            raise OSError(errno.EIO, str(error), str(self._path)) from error

    def __enter__(self) -> BagWriter:
        self._writer.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()


def _reason(error: Exception) -> str:
    text = str(error).splitlines()
    return text[0] if text else type(error).__name__


def _qos(latched: bool) -> Qos:
    """Reliable, as the node offers its topics; latched ones keep their last message for late subscribers."""
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1 if latched else 5,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=_UNSET,
        lifespan=_UNSET,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_UNSET,
        avoid_ros_namespace_conventions=False,
    )
