"""Which passes over a video track every object from its first prompt on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Pass:
    """Frames that are tracked one after the other, for the same objects."""

    frames: range
    objects: tuple[int, ...]


def plan_passes(first_frames: dict[int, int], length: int, forward: bool, backward: bool) -> list[Pass]:
    """The passes that track every object, from its first prompted frame on, through a video.

    Args:
        first_frames: for each object id, the first frame on which it was prompted.
        length: frames of the video.
        forward: whether objects are tracked to the end.
        backward: whether they are tracked to the beginning.
    """
    starts = sorted(set(first_frames.values()))
    passes = []
    if forward:
        for start, end in zip(starts, [*starts[1:], length], strict=True):
            known = tuple(key for key, first in first_frames.items() if first <= start)
            passes.append(Pass(range(start, end), known))
    if backward:
        for end, start in reversed(list(zip([0, *starts[:-1]], starts, strict=True))):
            known = tuple(key for key, first in first_frames.items() if first >= start)
            passes.append(Pass(range(start - 1, end - 1, -1), known))
    return [one for one in passes if len(one.frames)]


def passes_after(passes: Iterable[Pass], done: int) -> Iterator[Pass]:
    """What is left of passes when `done` frames of them are done."""
    for one in passes:
        left = one.frames[done:]
        done = max(done - len(one.frames), 0)
        if len(left):
            yield Pass(left, one.objects)
