"""The memory bank (paper, section 4): what an object was like on earlier frames, and which of it is read."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..model import MemoryTokens, Sam2Config
from .prompts import Clicks
from .timeline import Timeline


@dataclass(frozen=True, eq=False)
class FrameMemory:
    """One object on one frame."""

    frame: int
    """Index of the frame in its session."""
    map: Tensor
    """The memory `[Cm, s, s]`, bfloat16 as in the official predictor."""
    pointer: Tensor
    """The object pointer `[C]`."""
    logits: Tensor
    """Mask logits `[1, 4s, 4s]`, float32."""
    score: float
    """Object score logit."""
    iou: float
    """Predicted IoU of the mask."""
    conditioning: bool
    """Whether the frame was prompted without having been tracked before."""
    clicks: Clicks | None = None
    """The clicks given on this frame so far."""
    step: int = 1
    """The direction in which the frame was tracked: 1 forward, -1 backward."""

    @property
    def nbytes(self) -> int:
        """Bytes held by the tensors."""
        return self.map.nbytes + self.pointer.nbytes + self.logits.nbytes


@dataclass
class MemoryBank:
    """All memories of one object, by frame."""

    max_conditioning: int
    """Conditioning frames kept at most: the first, then the newest."""
    recent: MutableMapping[int, FrameMemory]
    """Memories of frames that are not conditioning ones: `RingMemories` in a stream, `ArchivedMemories` in a
    clip."""
    conditioning: dict[int, FrameMemory] = field(default_factory=dict)

    def find(self, frame: int) -> FrameMemory | None:
        """The memory of a frame, if there is one."""
        return self.conditioning.get(frame) or self.recent.get(frame)

    def put(self, memory: FrameMemory) -> None:
        """Stores the memory of a frame in place of an earlier one."""
        self.conditioning.pop(memory.frame, None)
        self.recent.pop(memory.frame, None)
        if not memory.conditioning:
            self.recent[memory.frame] = memory
            return
        self.conditioning[memory.frame] = memory
        if len(self.conditioning) > self.max_conditioning:
            # The first prompt says best what the object is; of the others the newest are closest in time.
            first, *others = sorted(self.conditioning)
            kept = [first, *others[len(others) - self.max_conditioning + 1 :]]
            self.conditioning = {frame: self.conditioning[frame] for frame in kept}

    @property
    def nbytes(self) -> int:
        """Bytes held by all memories."""
        return sum(memory.nbytes for memory in (*self.conditioning.values(), *self.recent.values()))


@dataclass(frozen=True)
class Slots:
    """What one object's memory attention reads on a frame."""

    maps: list[tuple[int, FrameMemory]]
    """Spatial memories, each with its row of the temporal encoding."""
    pointers: list[tuple[int, FrameMemory]]
    """Pointers, each with how many frames ago it was."""


def read_slots(bank: MemoryBank, frame: int, timeline: Timeline, config: Sam2Config) -> Slots:
    """Which memories are read on a frame.

    Maps: the conditioning frames that the timeline offers, and the last six frames that are not. Pointers:
    those of the same conditioning frames, as far as they lie behind, and of the last frames that are not.
    "Last" and "behind" are meant in the direction of the timeline.
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


def gather(banks: Sequence[MemoryBank], frame: int, timeline: Timeline, config: Sam2Config) -> MemoryTokens:
    """The memory of N objects on a frame, as one batch, into which every memory is copied once.

    Objects with shorter histories are padded with slots that are marked as not valid.
    """
    slots = [read_slots(bank, frame, timeline, config) for bank in banks]
    map_counts, pointer_counts = [len(s.maps) for s in slots], [len(s.pointers) for s in slots]
    padded = len(set(map_counts)) > 1 or len(set(pointer_counts)) > 1
    device = slots[0].maps[0][1].map.device
    side = config.embedding_size
    # The network counts time in units of a full pointer history; a shorter clip's own history is its unit.
    unit = (config.max_pointers - 1) / max(timeline.pointer_reach(config) - 1, 1)

    def batch(rows: list[list[Tensor]], *shape: int) -> Tensor:
        filled = torch.zeros(len(rows), max(len(row) for row in rows), *shape, device=device)
        for places, tensors in zip(filled, rows, strict=True):
            for place, tensor in zip(places, tensors, strict=False):
                place.copy_(tensor)
        return filled

    def times(rows: list[list[float]], dtype: torch.dtype) -> Tensor:
        count = max(len(row) for row in rows)
        return torch.tensor([row + [0] * (count - len(row)) for row in rows], dtype=dtype, device=device)

    def valid(counts: list[int]) -> Tensor | None:
        places = torch.arange(max(counts), device=device)
        return places < torch.tensor(counts, device=device)[:, None] if padded else None

    return MemoryTokens(
        maps=batch([[memory.map for _, memory in s.maps] for s in slots], config.memory_dim, side, side),
        rows=times([[row for row, _ in s.maps] for s in slots], torch.int64),
        pointers=batch([[memory.pointer for _, memory in s.pointers] for s in slots], config.hidden_dim),
        offsets=times([[unit * age for age, _ in s.pointers] for s in slots], torch.float32),
        map_valid=valid(map_counts),
        pointer_valid=valid(pointer_counts),
    )
