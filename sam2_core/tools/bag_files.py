"""ROS 2 bags (MCAP or sqlite3) in and out, without ROS."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import yaml
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
_METADATA = "metadata.yaml"
_STORAGES = (".mcap", ".db3")


class BagError(ValueError):
    """A bag cannot be read or written; the message names it, and the topic or the place."""


@dataclass(frozen=True)
class BagImage:
    """One image of a bag."""

    place: str
    """Which one it is, for messages."""
    stamp: int
    """When it was recorded [ns]."""
    kind: str
    """The message's type."""
    message: Any

    @property
    def header(self) -> Any:
        """Its `std_msgs/Header`."""
        return self.message.header

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """uint8 `[H, W, 3]`; decoded when first asked for. Raises BagError where that fails."""
        try:
            return _READERS[self.kind](self.message)
        except ImageError as error:
            raise BagError(f"{self.place}: {error}") from error


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
        self._topic = topic
        problem = ""
        if not kinds:
            problem = "is not in it"
        elif kinds - _READERS.keys():
            problem = f"is {', '.join(sorted(kinds))}"
        elif not len(self):
            problem = "has no images"
        if problem:
            images = {
                one.topic for one in self._reader.connections if one.msgtype in _READERS and one.msgcount
            }
            self._reader.close()
            allowed = ", ".join(sorted(images)) or "none, the bag has no images"
            raise BagError(f"{path}: topic {topic} {problem}; allowed: {allowed}")

    def __len__(self) -> int:
        return sum(one.msgcount for one in self._connections)

    def read(self, first: int = 0) -> Iterator[BagImage]:
        """The images from one on, counted from 0. Raises BagError where the bag is damaged or ends early."""
        messages = self._reader.messages(self._connections)
        count = first
        try:
            for connection, stamp, data in islice(messages, first, None):
                message = self._reader.deserialize(data, connection.msgtype)
                place = f"{self.path}: image {count} on {self._topic}"
                count += 1
                yield BagImage(place, stamp, connection.msgtype, message)
        except Exception as error:  # as above
            place = f"after image {count} of {len(self)} on {self._topic}"
            raise BagError(f"{self.path}: damaged {place} ({_reason(error)})") from error
        if count < len(self):
            raise BagError(f"{self.path}: ends early, after {count} of {len(self)} images on {self._topic}")

    def __enter__(self) -> BagImages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()


class BagWriter:
    """Writes a bag that any ROS 2 tool opens; a context manager, which finishes the bag however it ends.

    A bag that was there is replaced by the finished one; recordings that do not belong to it stay.

    Args:
        path: the bag's folder.
        storage: `mcap` or `sqlite3`.
        typestore: knows the messages that will be written.
        min_free: bytes that stay free on the disk, so that the bag can be finished: a chunk and the index.
    """

    def __init__(self, path: Path, storage: str, typestore: Typestore, min_free: int) -> None:
        self._path = path.resolve()
        self._typestore = typestore
        self._min_free = min_free
        self._connections: dict[str, Connection] = {}
        self._begun = self._path / ".unfinished"
        shutil.rmtree(self._begun, ignore_errors=True)
        # Files of a bag are named after its folder. Version 8 is the newest that the tools of Humble read.
        plugin = StoragePlugin[storage.upper()]
        self._writer = Writer(self._begun / self._path.name, version=8, storage_plugin=plugin)

    def write(self, topic: str, message: Any, stamp: int, latched: bool = False) -> None:
        """Adds a message, recorded at `stamp` [ns].

        Raises:
            OSError: the disk is full.
        """
        require_free(self._path, self._min_free)
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
        try:
            self._writer.close()
            old, new = _files(self._path), _files(self._begun / self._path.name)
            for name in new:
                (self._begun / self._path.name / name).replace(self._path / name)
            for name in set(old) - set(new):
                (self._path / name).unlink(missing_ok=True)
        finally:
            shutil.rmtree(self._begun, ignore_errors=True)


def require_free(folder: Path, least: int) -> None:
    """Raises OSError unless so many bytes are free on the disk of a folder."""
    if shutil.disk_usage(folder).free < least:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def recordings(folder: Path) -> list[str]:
    """The names of the files in a folder that are of bags; none of a folder that is not there."""
    return sorted(
        path.name for path in folder.glob("*") if path.suffix in _STORAGES or path.name == _METADATA
    )


def _files(folder: Path) -> list[str]:
    """The names of a bag's files, its metadata last, which name the others; none where these are damaged."""
    try:
        metadata = yaml.safe_load((folder / _METADATA).read_text("utf-8"))
        return [*metadata["rosbag2_bagfile_information"]["relative_file_paths"], _METADATA]
    except (FileNotFoundError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError):
        return []


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
