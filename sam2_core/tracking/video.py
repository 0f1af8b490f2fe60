"""Offline segmentation of a recorded video: every frame can be prompted, in any order, at any moment."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ..backends import Backend
from .answers import object_results
from .archive import ArchivedMemories
from .errors import FrameRangeError, UnknownObjectError
from .frames import HeldFrame
from .memory import FrameMemory, MemoryBank
from .options import VideoOptions
from .prompts import Prompt
from .results import FrameResult, ObjectResult, TrackedObject
from .steps import Steps
from .timeline import Clip


class FrameSource(Protocol):
    """Frames that can be read in any order; `sam2_core.video_frames.VideoFrames` is one."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> NDArray[np.uint8]:
        """uint8 `[H, W, 3]`, RGB."""
        ...

    def stamp(self, index: int) -> int:
        """[ns], rising with the index."""
        ...


@dataclass
class _Object:
    """An object: its identity, its own memory, and the frames on which it was prompted."""

    identity: TrackedObject
    bank: MemoryBank
    prompted: set[int] = field(default_factory=set)


class VideoSegmenter:
    """Segments objects through a recorded video (paper, sections 3 and 4, with prompts from the future).

    Frames are read when they are needed and the encoded ones of the last few kept; memories beyond
    `held_memories` wait in a temporary file, so that the length of the video costs no RAM. Not thread-safe.

    The numbers are those of the official video predictor, but for what users of it run into: a prompted frame
    keeps what was prompted (there, a correction on a conditioning frame that a pass went through is lost, and
    so is one on a tracked frame when a later pass goes through it), and a correction sees the corrections
    before it at once (there, only after the next pass has begun), but not the memory of its own frame.

    Args:
        backend: executes the network, for example `sam2_core.model.load_network()`.
        frames: the video.
        options: what may be tuned.
    """

    def __init__(self, backend: Backend, frames: FrameSource, options: VideoOptions = VideoOptions()) -> None:
        self.options = options
        self._backend = backend
        self._frames = frames
        self._steps = Steps(backend, options)
        self._cache: OrderedDict[int, HeldFrame] = OrderedDict()
        self._objects: dict[int, _Object] = {}
        self._removed: set[int] = set()

    @property
    def objects(self) -> tuple[TrackedObject, ...]:
        """The objects, in order of id."""
        return tuple(self._objects[key].identity for key in sorted(self._objects))

    def prompted_frames(self, object_id: int) -> tuple[int, ...]:
        """The frames on which an object was prompted, in order.

        Raises:
            UnknownObjectError: no such object.
        """
        return tuple(sorted(self._find(object_id).prompted))

    @torch.inference_mode()
    def add_prompt(
        self,
        frame: int,
        prompt: Prompt,
        object_id: int | None = None,
        label: str = "",
        clear_previous: bool = True,
    ) -> ObjectResult:
        """Says on a frame what an object is; other frames follow in the next pass over them.

        On a frame that a pass has tracked, the prompt corrects what was found there. Any other frame is read
        as a conditioning frame from everywhere in the video. On both, points and boxes refine the object's
        mask of that frame, if there is one; to start over, remove the object. A mask decides alone.

        Args:
            frame: index of the frame.
            prompt: points, box or mask, in pixels of that frame.
            object_id: the object; one that is new becomes the new object's id. None: the next free id.
            label: a name for people; empty keeps the present one.
            clear_previous: forget the object's earlier points on that frame; otherwise they are kept and the
                new ones follow them.

        Returns:
            The object on that frame.

        Raises:
            FrameRangeError: there is no such frame.
            PromptError: the prompt does not fit the frame, or adds a box to earlier points.
            MaskTooSmallError: the prompt is a mask with no pixel left at the network's resolution.
            UnknownObjectError: the id is not positive, or was that of a removed object.
        """
        held = self._frame(frame)
        prompt.check(held.size)
        known = self._known_or_new(object_id, held, label)
        before = known.bank.find(frame)
        clip = self._clip(before.step if before else 1)
        memory = replace(self._steps.prompt(known.bank, held, prompt, clear_previous, clip), step=clip.step)

        # Nothing can fail from here on.
        known.bank.put(memory)
        known.prompted.add(frame)
        if label:
            known.identity = replace(known.identity, label=label)
        self._objects[known.identity.id] = known
        return object_results([known.identity], [memory], held.size)[0]

    def remove_object(self, object_id: int) -> None:
        """Forgets an object; its id is not used again.

        Raises:
            UnknownObjectError: no such object.
        """
        del self._objects[self._find(object_id).identity.id]
        self._removed.add(object_id)

    def reset(self) -> None:
        """Forgets every object; ids start again at 1."""
        self._objects.clear()
        self._removed.clear()

    def propagate(
        self,
        start: int | None = None,
        last: int | None = None,
        reverse: bool = False,
        objects: Iterable[int] | None = None,
    ) -> Iterator[tuple[int, FrameResult]]:
        """Tracks objects from frame to frame; lazily, so the pass ends where the caller stops asking.

        Args:
            start: first frame of the pass; None: the earliest prompted one.
            last: last frame of the pass, inclusive; None: the end of the video in the pass's direction.
            reverse: go backward.
            objects: ids of the objects to track; None: all.

        Yields:
            The index of a frame and its objects, in order of id.

        Raises:
            FrameRangeError: there is no such frame, or nothing was prompted.
            UnknownObjectError: no such object.
        """
        tracked = [self._find(key) for key in sorted(self._objects if objects is None else set(objects))]
        prompted = [frame for one in tracked for frame in one.prompted]
        if not prompted:
            raise FrameRangeError("no object to propagate; allowed: after a prompt")
        step = -1 if reverse else 1
        start = min(prompted) if start is None else self._check(start)
        last = (0 if reverse else len(self._frames) - 1) if last is None else self._check(last)
        return self._pass(tracked, range(start, last + step, step), self._clip(step))

    @torch.inference_mode()
    def _pass(
        self, tracked: Sequence[_Object], frames: range, clip: Clip
    ) -> Iterator[tuple[int, FrameResult]]:
        for index in frames:
            frame = self._frame(index)
            followed = [one for one in tracked if index not in one.prompted]
            memories = self._steps.track([one.bank for one in followed], frame, clip) if followed else []
            # Before memories are put away, for which the host may wait until the GPU has found them.
            self._look_ahead(index + clip.step, frames)
            for one, memory in zip(followed, memories, strict=True):
                one.bank.put(memory)
            yield index, self._result(tracked, frame)

    def _look_ahead(self, index: int, frames: range) -> None:
        """A GPU begins with the next frame of a pass while it is still tracking on this one."""
        if self._backend.device.type == "cuda" and index in frames and self.options.cached_frames > 1:
            self._frame(index).prefetch()

    def read_behind(self, frame: int, reverse: bool = False) -> range:
        """The frames that are read, apart from prompted ones, when a pass comes to a frame."""
        step = -1 if reverse else 1
        return range(frame - step, frame - step * self._backend.config.max_pointers, -step)

    def memories(self, frames: Iterable[int]) -> dict[int, list[FrameMemory]]:
        """What was found on tracked frames, by object id; with the prompts it is all of a session."""
        wanted = sorted(set(frames))
        return {
            key: [memory for frame in wanted if (memory := one.bank.recent.get(frame))]
            for key, one in self._objects.items()
        }

    def forget_except(self, frames: Iterable[int]) -> None:
        """Lets go of what was found on tracked frames, but for these; prompted ones stay.

        Passes then read nothing of the others, and a prompt there stands for itself.
        """
        kept = set(frames)
        for one in self._objects.values():
            for frame in set(one.bank.recent) - kept - one.prompted:
                del one.bank.recent[frame]

    def restore(self, memories: Mapping[int, Sequence[FrameMemory]]) -> None:
        """Takes over the `memories` of an earlier session with the same video and prompts.

        Raises:
            UnknownObjectError: no such object.
        """
        for key, ones in memories.items():
            for memory in ones:
                self._find(key).bank.put(memory)

    def _clip(self, step: int) -> Clip:
        return Clip(len(self._frames), step, self.options.max_conditioning_frames)

    def _check(self, frame: int) -> int:
        count = len(self._frames)
        if not 0 <= frame < count:
            raise FrameRangeError(f"frame {frame} is not in the video; allowed: 0 to {count - 1}")
        return frame

    def _frame(self, index: int) -> HeldFrame:
        if index not in self._cache:
            self._check(index)
            image, stamp = self._frames.image(index), self._frames.stamp(index)
            self._cache[index] = HeldFrame(index, stamp, image, self._backend)
            if len(self._cache) > self.options.cached_frames:
                self._cache.popitem(last=False)
        self._cache.move_to_end(index)
        return self._cache[index]

    def _find(self, object_id: int) -> _Object:
        if object_id not in self._objects:
            allowed = ", ".join(map(str, sorted(self._objects))) or "none, nothing was prompted"
            raise UnknownObjectError(f"object id {object_id} is unknown; allowed: {allowed}")
        return self._objects[object_id]

    def _known_or_new(self, object_id: int | None, frame: HeldFrame, label: str) -> _Object:
        if object_id in self._objects:
            return self._objects[object_id]
        if object_id is None:
            object_id = 1 + max((*self._objects, *self._removed), default=0)
        if object_id < 1 or object_id in self._removed:
            reason = "it was removed, and ids are not used twice" if object_id > 0 else "allowed: 1 or more"
            raise UnknownObjectError(f"object id {object_id} cannot be added: {reason}")
        bank = MemoryBank(len(self._frames), ArchivedMemories(self.options.held_memories))
        return _Object(TrackedObject(object_id, label, frame.stamp), bank)

    def _result(self, tracked: Sequence[_Object], frame: HeldFrame) -> FrameResult:
        found = [(one.identity, one.bank.find(frame.index)) for one in tracked]
        identities, memories = zip(*(pair for pair in found if pair[1]), strict=True) or ((), ())
        return FrameResult(frame.stamp, frame.size, object_results(identities, memories, frame.size))
