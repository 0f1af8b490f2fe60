"""The streaming tracker: frames arrive one by one, prompts at any moment (paper, section 4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..backends import Backend
from .answers import object_results
from .archive import pack, unpack
from .errors import TooManyObjectsError, UnknownObjectError
from .findings import Arena
from .frames import FrameBuffer, HeldFrame
from .memory import FrameMemory, MemoryBank
from .options import TrackerOptions
from .prompts import Prompt
from .results import FrameResult, ObjectResult, TrackedObject
from .steps import Steps
from .timeline import Stream

MAX_ID = 65535
"""The largest id of an object: images of labels have 16 bits for it."""


@dataclass
class _Object:
    """A tracked object: its identity and its own memory, nothing of which is another's."""

    identity: TrackedObject
    bank: MemoryBank


class StreamingTracker:
    """Tracks objects through a stream of images, in constant memory.

    Not thread-safe: one thread owns it. A session lasts from one `reset` to the next.

    Args:
        backend: executes the network, for example `sam2_core.model.load_network()`.
        options: what may be tuned.
    """

    def __init__(self, backend: Backend, options: TrackerOptions = TrackerOptions()) -> None:
        self.options = options
        self._backend = backend
        self._steps = Steps(backend, options)
        self._frames = FrameBuffer(options.held_frames, backend)
        self._arena = Arena(backend.config, backend.device)
        self._objects: dict[int, _Object] = {}
        self._next_id = 1
        # A frame reads so far back, and every held frame may still be tracked again.
        config = backend.config
        self._window = options.held_frames + max(config.recent_memories, config.max_pointers - 1)

    @property
    def objects(self) -> tuple[TrackedObject, ...]:
        """The tracked objects, in order of id."""
        return tuple(tracked.identity for tracked in self._objects.values())

    @property
    def held_stamps(self) -> tuple[int, ...]:
        """Stamps of the frames that may be prompted [ns], oldest first."""
        return self._frames.stamps

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the memories of all objects."""
        return self._arena.taken_bytes

    @torch.inference_mode()
    def track(self, image: NDArray[np.uint8], stamp: int) -> FrameResult:
        """Takes the next frame and finds every object on it; if that fails, the frame is as never taken.

        Args:
            image: uint8 `[H, W, 3]`, RGB; held without a copy, so it must not be changed afterwards. The size
                may differ from frame to frame.
            stamp: [ns], larger than that of the frame before.

        Raises:
            StampError: the stamp is not larger than the last one.
            ValueError: the image is not uint8 `[H, W, 3]`.
        """
        frame = self._frames.next(image, stamp)
        tracked = list(self._objects.values())
        if tracked:
            self._step(tracked, frame)
        self._frames.push(frame)
        return FrameResult(stamp, frame.size, self._results(tracked, frame))

    @torch.inference_mode()
    def add_prompt(
        self,
        prompt: Prompt,
        object_id: int | None = None,
        label: str = "",
        stamp: int | None = None,
        clear_previous: bool = True,
    ) -> ObjectResult:
        """Starts an object, or corrects one, on a held frame; newer frames are tracked again from there.

        Of those, the frames on which the object was prompted keep what was prompted.

        Points and boxes refine the object's mask on that frame, if there is one, whether it was tracked or
        prompted before; to start over, remove the object. A mask decides alone.

        Args:
            prompt: points, box or mask, in pixels of that frame.
            object_id: the object to correct; None starts a new one.
            label: a name for people; empty keeps the present one.
            stamp: stamp of the frame [ns]; None means the newest.
            clear_previous: forget the object's earlier points on that frame; otherwise they are kept and
                the new ones follow them.

        Returns:
            The object on the prompted frame.

        Raises:
            PromptError: the prompt does not fit the frame, or adds a box to earlier points.
            MaskTooSmallError: the prompt is a mask with no pixel left at the network's resolution.
            UnknownObjectError: no such object.
            FrameNotHeldError: the frame is not held.
            TooManyObjectsError: `max_objects` are tracked already, or `MAX_ID` were in this session.
        """
        frame = self._frames.find(stamp)
        prompt.check(frame.size)
        tracked = self._new_object(frame, label) if object_id is None else self._find(object_id)
        memory = self._steps.prompt(tracked.bank, frame, prompt, clear_previous, Stream())
        self._reserve(tracked)

        # Nothing can fail from here on.
        self._remember([tracked], [memory])
        if label:
            tracked.identity = replace(tracked.identity, label=label)
        if object_id is None:
            self._objects[tracked.identity.id] = tracked
            self._next_id += 1
        for later in self._frames.after(frame):
            known = tracked.bank.find(later.index)
            if known is None or not known.prompted:
                self._step([tracked], later)
        return object_results([tracked.identity], [memory], frame.size)[0]

    def remove_object(self, object_id: int) -> None:
        """Stops tracking an object; its id is not used again in this session.

        Raises:
            UnknownObjectError: no such object.
        """
        bank = self._find(object_id).bank
        self._release((*bank.recent.values(), *bank.conditioning.values()))
        del self._objects[object_id]

    def reset(self) -> None:
        """Forgets every object and frame; ids start again at 1."""
        self._frames.clear()
        self._objects.clear()
        self._arena = Arena(self._backend.config, self._backend.device)
        self._next_id = 1

    def save(self, frames: int) -> dict[str, Any]:
        """What tracking needs to go on after the first `frames` frames of the session.

        Plain values and tensors, which `torch.save` writes and `weights_only` loads.
        """
        objects = []
        for one in self._objects.values():
            memories = (*one.bank.conditioning.values(), *one.bank.recent.values())
            if known := [pack(memory) for memory in memories if memory.frame < frames]:
                objects.append({"identity": asdict(one.identity), "memories": known})
        return {"frames": frames, "objects": objects}

    @torch.inference_mode()
    def restore(self, saved: dict[str, Any]) -> None:
        """Goes on where another tracker was saved; no frame is held that could be prompted."""
        self.reset()
        self._frames.clear(saved["frames"])
        for one in saved["objects"]:
            tracked = self._object(TrackedObject(**one["identity"]))
            for memory in one["memories"]:
                self._remember([tracked], [unpack(memory)])
            self._reserve(tracked)
            self._objects[tracked.identity.id] = tracked
        self._next_id = max(self._objects, default=0) + 1

    def held_frame(self, stamp: int | None = None) -> HeldFrame:
        """A frame that may be prompted, by its stamp [ns]; None means the newest.

        Raises:
            FrameNotHeldError: the frame is not held.
        """
        return self._frames.find(stamp)

    def keep(self, frame: HeldFrame) -> AbstractContextManager[None]:
        """Within this context a held frame may still be prompted when newer ones have taken its place.

        An object that starts on it is then tracked again on the newest frames only, from that prompt alone.
        """
        return self._frames.keep(frame)

    def _find(self, object_id: int) -> _Object:
        if object_id not in self._objects:
            allowed = ", ".join(map(str, self._objects)) or "none, nothing is tracked"
            raise UnknownObjectError(f"object id {object_id} is unknown; allowed: {allowed}")
        return self._objects[object_id]

    def _new_object(self, frame: HeldFrame, label: str) -> _Object:
        limit = self.options.max_objects
        if len(self._objects) >= limit:
            raise TooManyObjectsError(
                f"{len(self._objects)} objects are tracked already; allowed: {limit} at most"
            )
        if self._next_id > MAX_ID:
            raise TooManyObjectsError(
                f"{MAX_ID} objects were tracked in this session, whose ids are not used again; "
                "allowed: reset, which begins a new session"
            )
        return self._object(TrackedObject(self._next_id, label, frame.stamp))

    def _object(self, identity: TrackedObject) -> _Object:
        """An object that nothing is remembered of."""
        return _Object(identity, MemoryBank(self.options.max_conditioning_frames))

    def _reserve(self, prompted: _Object) -> None:
        """Makes room for all that is remembered of the objects, and of one that was prompted once more."""
        banks = [one.bank for one in {**self._objects, prompted.identity.id: prompted}.values()]
        # Two more: the new conditioning frame, and what is stored before what it takes the place of goes.
        self._arena.reserve(2 + sum(self._window + len(bank.conditioning) for bank in banks))

    def _remember(self, tracked: Sequence[_Object], memories: Sequence[FrameMemory]) -> None:
        """Moves the memories of a frame, all that were found in one batch, into the arena and the banks."""
        for one, memory in zip(tracked, memories, strict=True):
            self._release(one.bank.forget_before(memory.frame + 1 - self._window))
        rows = self._arena.store(memories[0].found)
        for one, memory, row in zip(tracked, memories, rows, strict=True):
            self._release(one.bank.put(replace(memory, found=self._arena, row=row)))

    def _release(self, memories: Iterable[FrameMemory]) -> None:
        self._arena.release([memory.row for memory in memories])

    def _step(self, tracked: Sequence[_Object], frame: HeldFrame) -> None:
        """Finds objects on a frame from their memories and remembers the outcome."""
        self._remember(tracked, self._steps.track([one.bank for one in tracked], frame, Stream()))

    def _results(self, tracked: Sequence[_Object], frame: HeldFrame) -> tuple[ObjectResult, ...]:
        # Every tracked object has a memory of every frame since its first prompt.
        memories = [memory for one in tracked if (memory := one.bank.find(frame.index))]
        return object_results([one.identity for one in tracked], memories, frame.size)
