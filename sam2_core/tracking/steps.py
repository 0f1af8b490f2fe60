"""What happens to objects on one frame, in streams and in clips alike: they are tracked, or prompted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..backends import Backend
from ..model import DecodedMasks
from ..transfer import upload
from .errors import MaskTooSmallError, PromptError
from .findings import Findings
from .frames import HeldFrame
from .memory import FrameMemory, MemoryBank, gather, read_slots
from .options import PromptOptions
from .prompts import Clicks, MaskPrompt, PointPrompt, Prompt, mask_logits, to_clicks, to_square_mask
from .results import as_prompt
from .selection import ChosenMasks, choose_masks, hide_absent
from .timeline import Timeline


class Steps:
    """Computes the memories of frames; stores nothing, so that a failure changes nothing.

    Args:
        backend: executes the network.
        options: how a mask is chosen, and what a correction does.
    """

    def __init__(self, backend: Backend, options: PromptOptions) -> None:
        self._backend = backend
        self._options = options

    def track(self, banks: Sequence[MemoryBank], frame: HeldFrame, timeline: Timeline) -> list[FrameMemory]:
        """Finds objects on a frame from their memories, all in one batch."""
        backend, features = self._backend, frame.features
        conditioned = self._read_memory(banks, frame, timeline)
        no_prompt = backend.encode_prompts(None, None)
        decoded = backend.decode_masks(conditioned, features.skip4, features.skip8, no_prompt)
        chosen = choose_masks(decoded, True, backend.config, self._options)
        logits = hide_absent(chosen.logits, decoded.score)
        maps = backend.encode_memory(features.embedding, logits, decoded.score).bfloat16()
        pointers = backend.hide_pointer(chosen.pointers, decoded.score)
        found = Findings(maps, pointers, logits, decoded.score, chosen.iou)
        return [
            FrameMemory(frame.index, found, row, conditioning=False, tracked=True, step=timeline.step)
            for row in range(len(banks))
        ]

    def prompt(
        self, bank: MemoryBank, frame: HeldFrame, prompt: Prompt, clear_previous: bool, timeline: Timeline
    ) -> FrameMemory:
        """The memory of a frame after a prompt on it.

        On a frame that was tracked, the prompt corrects what was found there: memory is read, and the frame
        stays a recent memory, or becomes a conditioning frame where corrections are to last. On any other
        frame no memory is read, and it is a conditioning frame.

        Points and boxes refine the mask of that frame, if there is one, even where they replace the points
        that it comes from; as in the official predictor. A mask decides alone.

        Raises:
            PromptError: the prompt adds a box to earlier points.
            MaskTooSmallError: the prompt is a mask that covers no cell of the network's masks.
        """
        before = bank.find(frame.index)
        correction = before is not None and before.tracked
        if isinstance(prompt, MaskPrompt):
            return self._mask_prompted(frame, prompt, correction)
        backend = self._backend
        clicks = self._clicks(prompt, frame, before, clear_previous)
        previous = None if before is None else as_prompt(before.logits[None])
        if correction:
            conditioned = self._read_memory([bank], frame, timeline)
        else:
            conditioned = backend.without_memory(frame.features.embedding)
        decoded, chosen = self._answer(conditioned, frame, clicks, previous)
        logits = hide_absent(chosen.logits, decoded.score)
        pointer = backend.hide_pointer(chosen.pointers, decoded.score)
        return self._remember(frame, logits, pointer, decoded.score, chosen.iou, correction, clicks)

    def _read_memory(self, banks: Sequence[MemoryBank], frame: HeldFrame, timeline: Timeline) -> Tensor:
        """The frame's embedding as N objects' memories condition it `[N, C, s, s]`.

        Objects that read more than a full history go in a batch of their own, so that no other object is
        padded to their length.
        """
        backend, embedding = self._backend, frame.features.embedding
        slots = [read_slots(bank, frame.index, timeline, backend.config) for bank in banks]
        longer = np.array([not one.within_full_history(backend.config) for one in slots])
        batches = [rows for rows in (np.flatnonzero(~longer), np.flatnonzero(longer)) if len(rows)]
        parts = [
            backend.attend_memory(embedding, gather([slots[i] for i in rows], timeline, backend.config))
            for rows in batches
        ]
        if len(parts) == 1:
            return parts[0]
        places = upload(np.argsort(np.concatenate(batches)), embedding.device)
        return torch.cat(parts).index_select(0, places)

    def _answer(
        self, conditioned: Tensor, frame: HeldFrame, clicks: Clicks, previous: Tensor | None
    ) -> tuple[DecodedMasks, ChosenMasks]:
        """What the decoder says to clicks, and the mask that counts; after a second look where one is due."""
        backend, features = self._backend, frame.features
        prompts = backend.encode_prompts(clicks.points, clicks.labels, previous)
        decoded = backend.decode_masks(conditioned, features.skip4, features.skip8, prompts)
        # One click is ambiguous; a box (two corners) or several clicks are not.
        chosen = choose_masks(decoded, len(clicks) <= 1, backend.config, self._options)
        if backend.config.second_look and len(clicks) == 1 and previous is None:
            return self._answer(conditioned, frame, clicks, as_prompt(chosen.logits))
        return decoded, chosen

    def _clicks(
        self, prompt: PointPrompt, frame: HeldFrame, before: FrameMemory | None, clear_previous: bool
    ) -> Clicks:
        backend = self._backend
        clicks = to_clicks(prompt, frame.size, backend.config.image_size, backend.device)
        if before is None or before.clicks is None or clear_previous:
            return clicks
        if clicks.has_box:
            raise PromptError("a box cannot follow earlier points; allowed: a box with clear_previous")
        return before.clicks.followed_by(clicks)

    def _mask_prompted(self, frame: HeldFrame, prompt: MaskPrompt, correction: bool) -> FrameMemory:
        backend, features = self._backend, frame.features
        mask = to_square_mask(prompt, backend.config.image_size, backend.device)
        logits = mask_logits(mask)
        if not (logits > 0).any():
            cells = backend.config.mask_size
            width, height = frame.size[1] / cells, frame.size[0] / cells
            raise MaskTooSmallError(
                f"mask of {prompt.mask.sum()} pixels is too small for {backend.config.name} at "
                f"{backend.config.image_size} px; allowed: one that covers {width:.3g} x {height:.3g} pixels"
            )
        prompts = backend.encode_mask_prompt(mask)
        # The mask is the answer; it is decoded for its pointer only.
        decoded = backend.decode_masks(features.embedding, features.skip4, features.skip8, prompts)
        pointer = backend.hide_pointer(decoded.pointers[:, 0], decoded.score)
        score = decoded.score.new_full((1,), 10.0)
        return self._remember(frame, logits, pointer, score, torch.ones_like(score), correction)

    def _remember(
        self,
        frame: HeldFrame,
        logits: Tensor,
        pointer: Tensor,
        score: Tensor,
        iou: Tensor,
        correction: bool,
        clicks: Clicks | None = None,
    ) -> FrameMemory:
        """Encodes the memory of a prompted frame: what the user saw, so the mask enters as 0 and 1."""
        memory = self._backend.encode_memory(
            frame.features.embedding, logits, score, binarize=True
        ).bfloat16()
        return FrameMemory(
            frame.index,
            Findings(memory, pointer, logits, score, iou),
            row=0,
            conditioning=self._options.lasting_corrections or not correction,
            tracked=correction,
            prompted=True,
            clicks=clicks,
        )
