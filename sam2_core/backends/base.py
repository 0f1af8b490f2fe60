"""The seam between tracking and whatever executes the network (DESIGN: four stages)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..model import DecodedMasks, ImageFeatures, MemoryTokens, PromptTokens, Sam2Config


class ImageBackend(Protocol):
    """Executes the stages that single images need; `sam2_core.model.ImageNetwork` is the reference.

    Shapes and meanings are those of its methods of the same names.
    """

    config: Sam2Config

    @property
    def device(self) -> torch.device:
        """Where tensors go in and come out."""
        ...

    def encode_image(self, pixels: Tensor) -> ImageFeatures: ...

    def without_memory(self, embedding: Tensor) -> Tensor: ...

    def encode_prompts(
        self, points: Tensor | None, labels: Tensor | None, mask_logits: Tensor | None = None
    ) -> PromptTokens: ...

    def decode_masks(
        self, embedding: Tensor, skip4: Tensor, skip8: Tensor, prompts: PromptTokens
    ) -> DecodedMasks: ...


class Backend(ImageBackend, Protocol):
    """Executes all of SAM 2's stages; `sam2_core.model.Sam2Network` is the reference, in torch."""

    def attend_memory(self, embedding: Tensor, memory: MemoryTokens) -> Tensor: ...

    def encode_mask_prompt(self, mask: Tensor) -> PromptTokens: ...

    def hide_pointer(self, pointer: Tensor, score: Tensor) -> Tensor: ...

    def encode_memory(
        self, embedding: Tensor, logits: Tensor, score: Tensor, binarize: bool = False
    ) -> Tensor: ...
