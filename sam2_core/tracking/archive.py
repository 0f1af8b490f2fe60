"""Memories of a long clip: the recently read ones in RAM, the others in a temporary file."""

from __future__ import annotations

import io
import tempfile
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, MutableMapping
from typing import Any

import torch

from .findings import Findings
from .memory import FrameMemory
from .prompts import Clicks

_BLOCK = 4096
"""Records take multiples of this in the file [bytes], so that one fits where another of the network was."""


class ArchivedMemories(MutableMapping[int, FrameMemory]):
    """The memories of one object by frame, of which only `capacity` are held in RAM.

    The temporary file lies where `tempfile` puts it (`TMPDIR`), and goes away with the object. It is as large
    as what it held at most: where a record was replaced or deleted, the next one goes.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: OrderedDict[int, FrameMemory] = OrderedDict()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the object)
        self._places: dict[int, tuple[int, int]] = {}  # where records begin, and their bytes
        self._free: defaultdict[int, list[int]] = defaultdict(list)  # where none are any more, by blocks
        self._blocks = 0

    def __getitem__(self, frame: int) -> FrameMemory:
        if frame not in self._held:
            start, size = self._places[frame]
            self._file.seek(start)
            self._hold(unpack(torch.load(io.BytesIO(self._file.read(size)), weights_only=True)))
        self._held.move_to_end(frame)
        return self._held[frame]

    def __setitem__(self, frame: int, memory: FrameMemory) -> None:
        self._leave(frame)
        self._hold(memory)

    def __delitem__(self, frame: int) -> None:
        if frame not in self:
            raise KeyError(frame)
        self._held.pop(frame, None)
        self._leave(frame)

    def __contains__(self, frame: object) -> bool:
        return frame in self._held or frame in self._places

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._held.keys() | self._places.keys()))

    def __len__(self) -> int:
        return len(self._held.keys() | self._places.keys())

    def _hold(self, memory: FrameMemory) -> None:
        self._held[memory.frame] = memory
        self._held.move_to_end(memory.frame)
        if len(self._held) > self._capacity:
            frame, oldest = next(iter(self._held.items()))
            if frame not in self._places:
                self._write(oldest)
            del self._held[frame]

    def _write(self, memory: FrameMemory) -> None:
        record = io.BytesIO()
        torch.save(pack(memory), record)
        size = record.tell()
        blocks = _blocks(size)
        if self._free[blocks]:
            start = self._free[blocks].pop()
        else:
            start = self._blocks * _BLOCK
            self._blocks += blocks
        self._file.seek(start)
        self._file.write(record.getbuffer())
        self._places[memory.frame] = (start, size)

    def _leave(self, frame: int) -> None:
        """Frees the place of a record that is not to be read any more, if there is one."""
        if frame in self._places:
            start, size = self._places.pop(frame)
            self._free[_blocks(size)].append(start)


def _blocks(size: int) -> int:
    """How many a record of so many bytes takes."""
    return -(-size // _BLOCK)


def pack(memory: FrameMemory) -> dict[str, Any]:
    """A memory as plain values and tensors, which `torch.save` writes and `weights_only` loads."""
    record = {name: value for name, value in vars(memory).items() if name not in ("found", "row", "clicks")}
    record["found"] = memory.found.row(memory.row).tensors
    record["clicks"] = memory.clicks and (memory.clicks.points, memory.clicks.labels)
    return record


def unpack(record: dict[str, Any]) -> FrameMemory:
    """The memory that `pack` made the record of."""
    clicks = record["clicks"] and Clicks(*record["clicks"])
    return FrameMemory(**{**record, "found": Findings(*record["found"]), "row": 0, "clicks": clicks})
