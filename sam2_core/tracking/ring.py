"""Memories of a stream: those of the newest frames, in tensors that are allocated once."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import replace

import torch

from ..model import Sam2Config
from .memory import FrameMemory


class RingMemories(MutableMapping[int, FrameMemory]):
    """The memories of one object by frame, each in the place of the one `capacity` frames before it.

    What is stored is copied, so that it keeps no other tensor alive; what is read is a view of its place, and
    right until that place is taken again.
    """

    def __init__(self, capacity: int, config: Sam2Config, device: torch.device) -> None:
        side, mask_side = config.embedding_size, config.mask_size
        map_shape = (capacity, config.memory_dim, side, side)
        self._maps = torch.empty(map_shape, dtype=torch.bfloat16, device=device)
        self._pointers = torch.empty(capacity, config.hidden_dim, device=device)
        self._logits = torch.empty(capacity, 1, mask_side, mask_side, device=device)
        self._memories: list[FrameMemory | None] = [None] * capacity

    def __getitem__(self, frame: int) -> FrameMemory:
        memory = self._memories[self._place(frame)]
        if memory is None or memory.frame != frame:
            raise KeyError(frame)
        return memory

    def __setitem__(self, frame: int, memory: FrameMemory) -> None:
        place = self._place(frame)
        self._memories[place] = replace(
            memory,
            map=self._maps[place].copy_(memory.map),
            pointer=self._pointers[place].copy_(memory.pointer),
            logits=self._logits[place].copy_(memory.logits),
        )

    def __delitem__(self, frame: int) -> None:
        if frame not in self:
            raise KeyError(frame)
        self._memories[self._place(frame)] = None

    def __iter__(self) -> Iterator[int]:
        return (memory.frame for memory in self._memories if memory)

    def __len__(self) -> int:
        return sum(memory is not None for memory in self._memories)

    def _place(self, frame: int) -> int:
        return frame % len(self._memories)
