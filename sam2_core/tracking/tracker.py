"""The streaming tracker: frames arrive one by one, prompts at any moment (paper, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..backends import Backend
from .errors import PromptError, TooManyObjectsError, UnknownObjectError
from .frames import FrameBuffer, HeldFrame
from .memory import FrameMemory, MemoryBank, gather
from .options import TrackerOptions
from .prompts import Clicks, MaskPrompt, PointPrompt, Prompt, mask_logits, to_clicks, to_square_mask
from .results import FrameResult, ObjectResult, TrackedObject
from .selection import choose_masks, hide_absent

_PREVIOUS_LOGIT_LIMIT = 32.0
"""Previous logits are clamped to this before they prompt a correction, as in the official predictor."""


@dataclass
class _Object:
    """A tracked object: its identity and its own memory, nothing shared with others."""

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
        self._frames = FrameBuffer(options.held_frames, backend)
        self._objects: dict[int, _Object] = {}
        self._next_id = 1

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
        return sum(tracked.bank.nbytes for tracked in self._objects.values())

    @torch.inference_mode()
    def track(self, image: NDArray[np.uint8], stamp: int) -> FrameResult:
        """Takes the next frame and finds every object on it.

        Args:
            image: uint8 `[H, W, 3]`, RGB; held without a copy, so it must not be changed afterwards. The size
                may differ from frame to frame.
            stamp: [ns], larger than that of the frame before.

        Raises:
            StampError: the stamp is not larger than the last one.
            ValueError: the image is not uint8 `[H, W, 3]`.
        """
        frame = self._frames.push(image, stamp)
        tracked = list(self._objects.values())
        if tracked:
            self._step(tracked, frame)
        return FrameResult(stamp, frame.size, tuple(self._result(one, frame) for one in tracked))

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

        A prompt on a frame on which the object was tracked refines what was found there; on any other frame
        (its first prompt, say) the prompt alone decides.

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
            UnknownObjectError: no such object.
            FrameNotHeldError: the frame is not held.
            TooManyObjectsError: `max_objects` are tracked already.
        """
        frame = self._frames.find(stamp)
        prompt.check(frame.size)
        tracked = self._new_object(frame, label) if object_id is None else self._find(object_id)
        memory = self._prompted(tracked.bank, frame, prompt, clear_previous)

        # Nothing can fail from here on.
        tracked.bank.put(memory)
        if label:
            tracked.identity = replace(tracked.identity, label=label)
        if object_id is None:
            self._objects[tracked.identity.id] = tracked
            self._next_id += 1
        for later in self._frames.after(frame):
            if later.index not in tracked.bank.conditioning:
                self._step([tracked], later)
        return self._result(tracked, frame)

    def remove_object(self, object_id: int) -> None:
        """Stops tracking an object; its id is not used again in this session.

        Raises:
            UnknownObjectError: no such object.
        """
        del self._objects[self._find(object_id).identity.id]

    def reset(self) -> None:
        """Forgets every object and frame; ids start again at 1."""
        self._frames.clear()
        self._objects.clear()
        self._next_id = 1

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
        identity = TrackedObject(self._next_id, label, frame.stamp)
        return _Object(identity, MemoryBank(self.options.max_conditioning_frames))

    def _step(self, tracked: Sequence[_Object], frame: HeldFrame) -> None:
        """Finds objects on a frame from their memories, all in one batch, and remembers the outcome."""
        backend, features = self._backend, frame.features
        memory = gather([one.bank for one in tracked], frame.index, backend.config)
        conditioned = backend.attend_memory(features.embedding, memory)
        no_prompt = backend.encode_prompts(None, None)
        decoded = backend.decode_masks(conditioned, features.skip4, features.skip8, no_prompt)
        chosen = choose_masks(decoded, True, self.options)
        logits = hide_absent(chosen.logits, decoded.score)
        maps = backend.encode_memory(features.embedding, logits, decoded.score).bfloat16()
        pointers = backend.hide_pointer(chosen.pointers, decoded.score)
        scores, ious = decoded.score.tolist(), chosen.iou.tolist()
        # Frames down to the oldest held one may still be tracked again, each from its own past.
        oldest_read = self._frames.oldest_index - max(
            backend.config.recent_memories, backend.config.max_pointers
        )
        for i, one in enumerate(tracked):
            one.bank.put(FrameMemory(frame.index, maps[i], pointers[i], logits[i], scores[i], ious[i], False))
            one.bank.forget_before(oldest_read)

    def _prompted(
        self, bank: MemoryBank, frame: HeldFrame, prompt: Prompt, clear_previous: bool
    ) -> FrameMemory:
        """The memory of a frame after a prompt on it; stores nothing."""
        before = bank.find(frame.index)
        conditioning = before is None or before.conditioning
        if isinstance(prompt, MaskPrompt):
            return self._mask_prompted(frame, prompt, conditioning)
        return self._click_prompted(bank, frame, prompt, before, conditioning, clear_previous)

    def _click_prompted(
        self,
        bank: MemoryBank,
        frame: HeldFrame,
        prompt: PointPrompt,
        before: FrameMemory | None,
        conditioning: bool,
        clear_previous: bool,
    ) -> FrameMemory:
        backend, embedding = self._backend, frame.features.embedding
        clicks = to_clicks(prompt, frame.size, backend.config.image_size, backend.device)
        if before is not None and before.clicks is not None and not clear_previous:
            if clicks.has_box:
                raise PromptError("a box cannot follow earlier points; allowed: a box with clear_previous")
            clicks = before.clicks.followed_by(clicks)
        previous = None
        if before is not None:
            previous = before.logits[None].clamp(-_PREVIOUS_LOGIT_LIMIT, _PREVIOUS_LOGIT_LIMIT)
        if conditioning:
            conditioned = backend.without_memory(embedding)
        else:
            conditioned = backend.attend_memory(embedding, gather([bank], frame.index, backend.config))
        prompts = backend.encode_prompts(clicks.points, clicks.labels, previous)
        decoded = backend.decode_masks(conditioned, frame.features.skip4, frame.features.skip8, prompts)
        # One click is ambiguous; a box (two corners) or several clicks are not.
        chosen = choose_masks(decoded, len(clicks) <= 1, self.options)
        logits = hide_absent(chosen.logits, decoded.score)
        pointer = backend.hide_pointer(chosen.pointers, decoded.score)
        return self._remember(frame, logits, pointer, decoded.score, chosen.iou.item(), conditioning, clicks)

    def _mask_prompted(self, frame: HeldFrame, prompt: MaskPrompt, conditioning: bool) -> FrameMemory:
        backend, features = self._backend, frame.features
        mask = to_square_mask(prompt, backend.config.image_size, backend.device)
        prompts = backend.encode_mask_prompt(mask)
        # The mask is the answer; it is decoded for its pointer only.
        decoded = backend.decode_masks(features.embedding, features.skip4, features.skip8, prompts)
        pointer = backend.hide_pointer(decoded.pointers[:, 0], decoded.score)
        visible = bool(mask.any())
        score = decoded.score.new_full((1,), 10.0 if visible else -10.0)
        return self._remember(
            frame, mask_logits(mask), backend.hide_pointer(pointer, score), score, 1.0, conditioning
        )

    def _remember(
        self,
        frame: HeldFrame,
        logits: Tensor,
        pointer: Tensor,
        score: Tensor,
        iou: float,
        conditioning: bool,
        clicks: Clicks | None = None,
    ) -> FrameMemory:
        """Encodes the memory of a prompted frame: what the user saw, so the mask enters as 0 and 1."""
        memory = self._backend.encode_memory(
            frame.features.embedding, logits, score, binarize=True
        ).bfloat16()
        return FrameMemory(
            frame.index, memory[0], pointer[0], logits[0], score.item(), iou, conditioning, clicks
        )

    def _result(self, tracked: _Object, frame: HeldFrame) -> ObjectResult:
        memory = tracked.bank.find(frame.index)
        assert memory is not None, "every tracked object has a memory of every frame since its first prompt"
        return ObjectResult(
            tracked.identity.id,
            tracked.identity.label,
            memory.logits[0].cpu().numpy(),
            frame.size,
            memory.score,
            memory.iou,
        )
