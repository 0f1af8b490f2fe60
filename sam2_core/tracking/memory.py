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
    """All memories of one object, by frame.

    In a stream, recent ones are dropped once no frame that may still be tracked can read them, so that a
    bank's size does not depend on the length of the stream.
    """

    max_conditioning: int
    conditioning: dict[int, FrameMemory] = field(default_factory=dict)
    recent: MutableMapping[int, FrameMemory] = field(default_factory=dict)

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

    def forget_before(self, frame: int) -> None:
        """Drops recent memories of frames older than this one."""
        for key in [key for key in self.recent if key < frame]:
            del self.recent[key]

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
    """The memory of N objects on a frame, as one batch.

    Objects with shorter histories are padded with slots that are marked as not valid.
    """
    slots = [read_slots(bank, frame, timeline, config) for bank in banks]
    map_count = max(len(s.maps) for s in slots)
    pointer_count = max(len(s.pointers) for s in slots)
    padded = any(len(s.maps) < map_count or len(s.pointers) < pointer_count for s in slots)

    def pad(
        items: list[tuple[int, FrameMemory]], filler: tuple[int, FrameMemory], count: int
    ) -> list[tuple[int, FrameMemory]]:
        return items + [filler] * (count - len(items))

    def valid(lengths: list[int], count: int) -> Tensor:
        return torch.tensor([[i < length for i in range(count)] for length in lengths], device=device)

    maps = [pad(s.maps, s.maps[0], map_count) for s in slots]
    pointers = [pad(s.pointers, s.maps[0], pointer_count) for s in slots]
    device = maps[0][0][1].map.device
    # The network counts time in units of a full pointer history; a shorter clip's own history is its unit.
    unit = (config.max_pointers - 1) / max(timeline.pointer_reach(config) - 1, 1)
    return MemoryTokens(
        maps=torch.stack([torch.stack([memory.map for _, memory in row]) for row in maps]).float(),
        rows=torch.tensor([[index for index, _ in row] for row in maps], device=device),
        pointers=torch.stack([_stack_pointers(row, config, device) for row in pointers]),
        offsets=torch.tensor([[unit * age for age, _ in row] for row in pointers], device=device),
        map_valid=valid([len(s.maps) for s in slots], map_count) if padded else None,
        pointer_valid=valid([len(s.pointers) for s in slots], pointer_count) if padded else None,
    )


def _stack_pointers(row: list[tuple[int, FrameMemory]], config: Sam2Config, device: torch.device) -> Tensor:
    """The pointers of one object `[P, C]`; P is 0 where all its conditioning frames lie ahead."""
    if not row:
        return torch.zeros(0, config.hidden_dim, device=device)
    return torch.stack([memory.pointer for _, memory in row])
