"""The memory bank (paper, section 4): what an object was like on earlier frames, and which of it is read."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..model import MemoryTokens, Sam2Config
from ..transfer import upload
from .findings import Findings
from .prompts import Clicks
from .timeline import Timeline


@dataclass(frozen=True, eq=False)
class FrameMemory:
    """One object on one frame."""

    frame: int
    """Index of the frame in its session."""
    found: Findings
    """In which it is one row: a stream's `Arena`; in a clip, what was found on that frame."""
    row: int
    conditioning: bool
    """Whether it is kept and read as a prompted frame's: see `Steps.prompt`."""
    tracked: bool
    """Whether the object was tracked on the frame, so that a prompt there is a correction."""
    prompted: bool = False
    """Whether the object was prompted on the frame, which then keeps what was prompted."""
    clicks: Clicks | None = None
    """The clicks given on this frame so far."""
    step: int = 1
    """The direction in which the frame was tracked: 1 forward, -1 backward."""

    @property
    def map(self) -> Tensor:
        """`[Cm, s, s]`."""
        return self.found.maps[self.row]

    @property
    def pointer(self) -> Tensor:
        """`[C]`."""
        return self.found.pointers[self.row]

    @property
    def logits(self) -> Tensor:
        """`[1, 4s, 4s]`."""
        return self.found.logits[self.row]


@dataclass
class MemoryBank:
    """All memories of one object, by frame."""

    max_conditioning: int
    """Conditioning frames kept at most: the first, then the newest. Others are then recent ones."""
    recent: MutableMapping[int, FrameMemory] = field(default_factory=dict)
    """Memories of frames that are not conditioning ones; in a clip, `ArchivedMemories`."""
    conditioning: dict[int, FrameMemory] = field(default_factory=dict)

    def find(self, frame: int) -> FrameMemory | None:
        """The memory of a frame, if there is one."""
        return self.conditioning.get(frame) or self.recent.get(frame)

    def put(self, memory: FrameMemory) -> list[FrameMemory]:
        """Stores the memory of a frame in place of an earlier one; returns what is let go of."""
        earlier = (self.conditioning.pop(memory.frame, None), self.recent.pop(memory.frame, None))
        if not memory.conditioning:
            self.recent[memory.frame] = memory
        else:
            self.conditioning[memory.frame] = memory
            if len(self.conditioning) > self.max_conditioning:
                # The first prompt says best what the object is; of the others the newest are closest in time.
                oldest = sorted(self.conditioning)[1]
                self.recent[oldest] = replace(self.conditioning.pop(oldest), conditioning=False)
        return [one for one in earlier if one]

    def forget_before(self, frame: int) -> list[FrameMemory]:
        """Lets go of the recent memories of the frames before one; returns them."""
        return [self.recent.pop(old) for old in [key for key in self.recent if key < frame]]


@dataclass(frozen=True)
class Slots:
    """What one object's memory attention reads on a frame."""

    maps: list[tuple[int, FrameMemory]]
    """Spatial memories, each with its row of the temporal encoding."""
    pointers: list[tuple[int, FrameMemory]]
    """Pointers, each with how many frames ago it was."""

    def within_full_history(self, config: Sam2Config) -> bool:
        """Whether they are no more than those of a long-tracked object with one conditioning frame."""
        return len(self.maps) <= config.num_memories and len(self.pointers) <= config.max_pointers


def read_slots(bank: MemoryBank, frame: int, timeline: Timeline, config: Sam2Config) -> Slots:
    """Which memories are read on a frame.

    Maps: the conditioning frames that the timeline offers, and the last `recent_memories` (six, in the
    released models) frames that are not. Pointers: those of the same conditioning frames, as far as they lie
    behind, and of the last frames that are not. "Last" and "behind" are meant in the direction of the
    timeline.
    """
    conditioning = timeline.conditioning(bank.conditioning, frame)
    maps = [(config.num_memories - 1, memory) for memory in conditioning]
    for age in range(config.recent_memories, 0, -1):
        if memory := bank.recent.get(frame - age * timeline.step):
            maps.append((age - 1, memory))
    ages = [(timeline.step * (frame - memory.frame), memory) for memory in conditioning]
    pointers = [(age, memory) for age, memory in ages if age >= 0]
    for age in range(1, timeline.pointer_reach(config)):
        if memory := bank.recent.get(frame - age * timeline.step):
            pointers.append((age, memory))
    return Slots(maps, pointers)


def pooled(memories: Sequence[FrameMemory]) -> tuple[Findings, list[int]]:
    """Where memories lie together, and in which rows.

    Those of a stream do, in its arena; those of a clip, where every frame has its own, are put together.
    """
    found = memories[0].found
    if all(memory.found is found for memory in memories):
        return found, [memory.row for memory in memories]
    rows = zip(*([tensor[memory.row] for tensor in memory.found.tensors] for memory in memories), strict=True)
    return Findings(*map(torch.stack, rows)), list(range(len(memories)))


def gather(slots: Sequence[Slots], timeline: Timeline, config: Sam2Config) -> MemoryTokens:
    """What N objects read on a frame, as one batch, selected from where the memories lie.

    Which rows are read is found out on the host, without a look at any tensor, and sent to the device in one
    table. Objects with shorter histories are padded with slots that are marked as not valid.
    """
    distinct = {id(memory): memory for s in slots for _, memory in (*s.maps, *s.pointers)}
    pool, rows = pooled(list(distinct.values()))
    row_of = dict(zip(distinct, rows, strict=True))
    # The network counts time in units of a full pointer history; a shorter clip's own history is its unit.
    unit = (config.max_pointers - 1) / max(timeline.pointer_reach(config) - 1, 1)

    tables = [
        _table([[row_of[id(memory)] for _, memory in s.maps] for s in slots]),
        _table([[time for time, _ in s.maps] for s in slots]),
        _table([[row_of[id(memory)] for _, memory in s.pointers] for s in slots]),
        _table([[age for age, _ in s.pointers] for s in slots]),
        _table([[len(s.maps), len(s.pointers)] for s in slots]),
    ]
    sent = upload(np.concatenate(tables, axis=1), pool.maps.device)
    map_rows, times, pointer_rows, ages, counts = sent.split([table.shape[1] for table in tables], dim=1)
    padded = bool((tables[-1] != tables[-1][0]).any())
    return MemoryTokens(
        maps=_select(pool.maps, map_rows).float(),
        rows=times,
        pointers=_select(pool.pointers, pointer_rows),
        offsets=unit * ages,
        map_valid=_valid(map_rows, counts[:, :1]) if padded else None,
        pointer_valid=_valid(pointer_rows, counts[:, 1:]) if padded else None,
    )


def _table(lists: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Lists as rows of equal length, zeros behind the shorter ones."""
    table = np.zeros((len(lists), max(map(len, lists))), np.int64)
    for row, values in zip(table, lists, strict=True):
        row[: len(values)] = values
    return table


def _select(tensor: Tensor, rows: Tensor) -> Tensor:
    """Rows `[N, K]` of a tensor `[R, ...]`: `[N, K, ...]`."""
    return tensor.index_select(0, rows.flatten()).view(*rows.shape, *tensor.shape[1:])


def _valid(rows: Tensor, counts: Tensor) -> Tensor:
    """Which of the slots `[N, K]` are not padding, by how many are not, `[N, 1]`."""
    return torch.arange(rows.shape[1], device=rows.device) < counts
