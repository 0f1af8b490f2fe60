"""Segmentation of single images: encode once, prompt many times (SAM's task, paper section 3)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..backends import Backend
from ..model import ImageFeatures, PromptTokens
from ..model.preprocess import preprocess
from .errors import TrackingError
from .options import TrackerOptions
from .prompts import MaskPrompt, Prompt, mask_logits, to_clicks, to_square_mask
from .results import SegmentationResult, upscale_mask
from .selection import choose_masks

_LOGIT_LIMIT = 32.0
"""Returned logits are clamped to this, so that they can serve as the next prompt."""


class ImageSegmenter:
    """Segments one image at a time.

    Args:
        backend: executes the network, for example `sam2_core.model.load_network()`.
        options: the stability options apply.
    """

    def __init__(self, backend: Backend, options: TrackerOptions = TrackerOptions()) -> None:
        self.options = options
        self._backend = backend
        self._size = (0, 0)
        self._features: ImageFeatures | None = None

    @torch.inference_mode()
    def set_image(self, image: NDArray[np.uint8]) -> None:
        """Encodes an image, uint8 `[H, W, 3]`, RGB, for the prompts that follow.

        Raises:
            ValueError: the image is of another type or shape.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(f"image is {image.dtype} {image.shape}; allowed: uint8 [H, W, 3], not empty")
        pixels = preprocess(image, self._backend.config.image_size)
        self._features = self._backend.encode_image(pixels[None].to(self._backend.device))
        self._size = (image.shape[0], image.shape[1])

    @torch.inference_mode()
    def predict(
        self, prompt: Prompt, multimask: bool = False, previous_logits: NDArray[np.float32] | None = None
    ) -> SegmentationResult:
        """Segments what the prompt means on the image.

        Args:
            prompt: points, box or mask, in pixels of the image.
            multimask: answer with three candidates, best first, instead of one mask.
            previous_logits: float32 `[4s, 4s]`, one of an earlier answer's `logits`, to refine that answer.

        Raises:
            PromptError: the prompt does not fit the image.
            TrackingError: there is no image yet, or `previous_logits` has another shape.
        """
        if self._features is None:
            raise TrackingError("no image is set; call set_image first")
        prompt.check(self._size)
        backend, features = self._backend, self._features
        prompts = self._encode(prompt, previous_logits)
        embedding = backend.without_memory(features.embedding)
        decoded = backend.decode_masks(embedding, features.skip4, features.skip8, prompts)
        if multimask:
            order = decoded.iou[0, 1:].argsort(descending=True)
            logits, iou = decoded.logits[0, 1:][order], decoded.iou[0, 1:][order]
        else:
            chosen = choose_masks(decoded, False, self.options)
            logits, iou = chosen.logits[0], chosen.iou
        low = logits.float().cpu().numpy()
        return SegmentationResult(
            np.stack([upscale_mask(one, self._size) for one in low]),
            iou.float().cpu().numpy(),
            low.clip(-_LOGIT_LIMIT, _LOGIT_LIMIT),
            decoded.score.item(),
        )

    def _encode(self, prompt: Prompt, previous_logits: NDArray[np.float32] | None) -> PromptTokens:
        backend = self._backend
        size, device = backend.config.image_size, backend.device
        previous: Tensor | None = None
        if previous_logits is not None:
            expected = (backend.config.mask_size, backend.config.mask_size)
            if previous_logits.shape != expected:
                raise TrackingError(f"previous_logits has shape {previous_logits.shape}; allowed: {expected}")
            previous = torch.from_numpy(previous_logits).float().to(device)[None, None]
        if isinstance(prompt, MaskPrompt):
            return backend.encode_prompts(None, None, mask_logits(to_square_mask(prompt, size, device)))
        clicks = to_clicks(prompt, self._size, size, device)
        return backend.encode_prompts(clicks.points, clicks.labels, previous)
