"""Segmentation of single images: encode once, prompt many times (SAM's task, paper section 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..backends import ImageBackend
from ..model import DecodedMasks, ImageFeatures, PromptTokens
from ..model.preprocess import preprocess
from .errors import TrackingError
from .options import TrackerOptions
from .prompts import MaskPrompt, Prompt, mask_logits, to_clicks, to_square_mask
from .results import SegmentationResult, as_prompt
from .selection import choose_masks

_PROMPTS_AT_ONCE = 64
"""Prompts decoded in one batch at most: what more would cost is memory, 20 MB each at S = 1024."""


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """An image as the network sees it, to be kept for prompts that come later."""

    features: ImageFeatures
    """A batch of one."""
    size: tuple[int, int]
    """(H, W) of the image."""

    def to(self, device: torch.device | str) -> EncodedImage:
        """The same on another device; a segmenter takes it from wherever it is."""
        return EncodedImage(self.features.to(device), self.size)


@dataclass(frozen=True, eq=False)
class _Question:
    """One prompt on one image, in the network's terms."""

    image: int
    points: Tensor | None
    """float32 `[1, P, 2]` [px of the S x S input]."""
    labels: Tensor | None
    """int64 `[1, P]`."""
    logits: Tensor | None
    """float32 `[1, 1, 4s, 4s]`."""

    @property
    def form(self) -> tuple[int, bool]:
        """Questions of one form make a batch. Padding would not do: every point, a padding one too, takes
        part in the decoder's attention.
        """
        return (0 if self.labels is None else self.labels.shape[1]), self.logits is not None


_LONE_CLICK = (1, False)
"""The form of a question of a single point, without an earlier answer."""


class ImageSegmenter:
    """Segments images: one at a time (`set_image`, `predict`), or many with many prompts in batches.

    Args:
        backend: executes the network, for example `sam2_core.model.load_image_network()`.
        options: the stability options apply.
        threshold: mask logit above which a pixel is the object's.
    """

    def __init__(
        self, backend: ImageBackend, options: TrackerOptions = TrackerOptions(), threshold: float = 0.0
    ) -> None:
        self.options = options
        self.threshold = threshold
        self.backend = backend
        self._image: EncodedImage | None = None

    @torch.inference_mode()
    def encode(self, images: Sequence[NDArray[np.uint8]]) -> list[EncodedImage]:
        """Encodes images, uint8 `[H, W, 3]`, RGB, each of any size, in one batch.

        Raises:
            ValueError: an image is of another type or shape.
        """
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
                raise ValueError(f"image is {image.dtype} {image.shape}; allowed: uint8 [H, W, 3], not empty")
        if not images:
            return []
        size = self.backend.config.image_size
        pixels = torch.stack([preprocess(image, size, self.backend.device) for image in images])
        features = self.backend.encode_image(pixels)
        return [
            EncodedImage(features[i : i + 1], (image.shape[0], image.shape[1]))
            for i, image in enumerate(images)
        ]

    def set_image(self, image: NDArray[np.uint8] | EncodedImage) -> None:
        """Takes an image, uint8 `[H, W, 3]`, RGB, or one encoded before, for the prompts that follow.

        Raises:
            ValueError: the image is of another type or shape.
        """
        self._image = image if isinstance(image, EncodedImage) else self.encode([image])[0]

    def predict(
        self, prompt: Prompt, multimask: bool = False, previous_logits: NDArray[np.float32] | None = None
    ) -> SegmentationResult:
        """Segments what the prompt means on the image that is set.

        Args:
            prompt: points, box or mask, in pixels of the image.
            multimask: answer with three candidates, best first, instead of one mask.
            previous_logits: float32 `[4s, 4s]`, one of an earlier answer's `logits`, to refine that answer.

        Raises:
            PromptError: the prompt does not fit the image.
            TrackingError: there is no image yet, or `previous_logits` has another shape.
        """
        return self.predict_batch([prompt], multimask, [previous_logits])[0]

    def predict_batch(
        self,
        prompts: Sequence[Prompt],
        multimask: bool = False,
        previous_logits: Sequence[NDArray[np.float32] | None] | None = None,
    ) -> list[SegmentationResult]:
        """Segments what each of many prompts means on the image that is set: the same as one by one, faster.

        The arguments and errors are those of `predict`; `previous_logits` has one entry a prompt.
        """
        if self._image is None:
            raise TrackingError("no image is set; call set_image first")
        logits = None if previous_logits is None else [previous_logits]
        return self.segment([self._image], [prompts], multimask, logits)[0]

    @torch.inference_mode()
    def segment(
        self,
        images: Sequence[EncodedImage],
        prompts: Sequence[Sequence[Prompt]],
        multimask: bool = False,
        previous_logits: Sequence[Sequence[NDArray[np.float32] | None]] | None = None,
    ) -> list[list[SegmentationResult]]:
        """Segments many encoded images, each with its own prompts, in as few batches as possible.

        Args:
            images: of `encode`.
            prompts: the prompts of each image, in its pixels; mixed as you like, though prompts of equally
                many points go together fastest.
            multimask: answer with three candidates, best first, instead of one mask.
            previous_logits: for each prompt of each image float32 `[4s, 4s]` or None, as in `predict`.

        Returns:
            For each image the results of its prompts, in their order.

        Raises:
            PromptError: a prompt does not fit its image.
            TrackingError: images, prompts and previous logits differ in number, or logits in shape.
        """
        previous = previous_logits or [[None] * len(some) for some in prompts]
        if [len(some) for some in prompts] != [len(some) for some in previous] or len(images) != len(prompts):
            raise TrackingError(
                f"{len(images)} images, prompts for {len(prompts)}, previous logits for {len(previous)}; "
                "allowed: as many lists of prompts as images, and one logits a prompt"
            )
        questions = [
            self._question(i, images[i].size, prompt, logits)
            for i, (some, logits_of_image) in enumerate(zip(prompts, previous, strict=True))
            for prompt, logits in zip(some, logits_of_image, strict=True)
        ]
        answers: dict[int, SegmentationResult] = {}
        for batch in _batches(questions):
            asked = [questions[i] for i in batch]
            decoded = self._decode(images, asked)
            if self.backend.config.second_look and asked[0].form == _LONE_CLICK and not multimask:
                decoded = self._decode(images, self._seen(asked, decoded))
            results = self._results(decoded, [images[question.image].size for question in asked], multimask)
            answers.update(zip(batch, results, strict=True))
        in_order = iter(answers[i] for i in range(len(questions)))
        return [[next(in_order) for _ in some] for some in prompts]

    def _question(
        self, image: int, size: tuple[int, int], prompt: Prompt, previous: NDArray[np.float32] | None
    ) -> _Question:
        prompt.check(size)
        config, device = self.backend.config, self.backend.device
        logits: Tensor | None = None
        if previous is not None:
            expected = (config.mask_size, config.mask_size)
            if previous.shape != expected:
                raise TrackingError(f"previous_logits has shape {previous.shape}; allowed: {expected}")
            logits = torch.from_numpy(previous).float().to(device)[None, None]
        if isinstance(prompt, MaskPrompt):
            return _Question(
                image, None, None, mask_logits(to_square_mask(prompt, config.image_size, device))
            )
        clicks = to_clicks(prompt, size, config.image_size, device)
        return _Question(image, clicks.points, clicks.labels, logits)

    def _decode(self, images: Sequence[EncodedImage], questions: Sequence[_Question]) -> DecodedMasks:
        """Decodes questions of one form, on one image or on several."""
        backend = self.backend
        asked = sorted({question.image for question in questions})
        parts = [images[i].features.to(backend.device) for i in asked]
        features = parts[0]
        if len(parts) > 1:
            rows = torch.tensor([asked.index(question.image) for question in questions])
            joined = ImageFeatures(
                torch.cat([part.embedding for part in parts]),
                torch.cat([part.skip4 for part in parts]),
                torch.cat([part.skip8 for part in parts]),
            )
            features = joined[rows.to(backend.device)]
        points = _join([question.points for question in questions])
        labels = _join([question.labels for question in questions])
        logits = _join([question.logits for question in questions])
        prompts = backend.encode_prompts(points, labels, logits)
        if points is None:
            # With a mask alone the official image predictor passes no point, not even padding.
            prompts = PromptTokens(prompts.sparse[:, :0], prompts.dense)
        embedding = backend.without_memory(features.embedding)
        return backend.decode_masks(embedding, features.skip4, features.skip8, prompts)

    def _seen(self, asked: Sequence[_Question], decoded: DecodedMasks) -> list[_Question]:
        """The questions again, each with the mask that was its answer."""
        answers = choose_masks(decoded, False, self.backend.config, self.options).logits
        return [replace(question, logits=as_prompt(answers[i : i + 1])) for i, question in enumerate(asked)]

    def _results(
        self, decoded: DecodedMasks, sizes: Sequence[tuple[int, int]], multimask: bool
    ) -> Iterator[SegmentationResult]:
        if multimask:
            order = decoded.iou[:, 1:].argsort(dim=1, descending=True)
            logits = decoded.logits[:, 1:].gather(1, order[..., None, None].expand_as(decoded.logits[:, 1:]))
            iou = decoded.iou[:, 1:].gather(1, order)
        else:
            chosen = choose_masks(decoded, False, self.backend.config, self.options)
            logits, iou = chosen.logits, chosen.iou[:, None]
        scores = decoded.score.tolist()
        for low, quality, score, size in zip(
            logits.float().cpu().numpy(), iou.float().cpu().numpy(), scores, sizes, strict=True
        ):
            yield SegmentationResult(low, quality, score, size, self.threshold)


def _join(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Tensors of one form as a batch; None where they are not there."""
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None


def _batches(questions: Sequence[_Question]) -> Iterator[list[int]]:
    """Indices of questions that can be decoded together."""
    forms: dict[tuple[int, bool], list[int]] = {}
    for i, question in enumerate(questions):
        forms.setdefault(question.form, []).append(i)
    for indices in forms.values():
        for start in range(0, len(indices), _PROMPTS_AT_ONCE):
            yield indices[start : start + _PROMPTS_AT_ONCE]
