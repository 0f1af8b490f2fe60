"""From where in time a frame reads its memories: in a stream, or in a recorded clip in either direction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from ..model import Sam2Config

_Memory = TypeVar("_Memory")


@dataclass(frozen=True)
class Stream:
    """Frames arrive one by one: only the past is known, and the video is as good as endless."""

    step: ClassVar[int] = 1
    """Frames from one tracked frame to the next."""

    def conditioning(self, memories: Mapping[int, _Memory], frame: int) -> list[_Memory]:
        """The prompted frames that a frame reads: those before it."""
        return [memory for key, memory in memories.items() if key < frame]

    def pointer_reach(self, config: Sam2Config) -> int:
        """How many frames the object pointers span, the present one included."""
        return config.max_pointers


@dataclass(frozen=True)
class Clip:
    """All frames are known: prompted frames are read from the future too, and passes go either way."""

    length: int
    """Frames of the clip."""
    step: int
    """1 where frames are tracked forward, -1 where backward."""
    max_conditioning: int
    """Prompted frames read at most: the first, then the closest in time."""

    def conditioning(self, memories: Mapping[int, _Memory], frame: int) -> list[_Memory]:
        """The prompted frames that a frame reads, wherever they are; itself it does not read."""
        known = [key for key in memories if key != frame]
        if len(known) > self.max_conditioning:
            first, *others = sorted(known)
            others.sort(key=lambda key: abs(key - frame))
            known = [first, *others[: self.max_conditioning - 1]]
        return [memories[key] for key in known]

    def pointer_reach(self, config: Sam2Config) -> int:
        """How many frames the object pointers span, the present one included."""
        return min(self.length, config.max_pointers)


Timeline = Stream | Clip
