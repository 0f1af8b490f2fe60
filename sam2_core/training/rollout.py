"""Runs the network over clips as the tracker would, with a simulated user, keeping gradients.

Memory follows the paper: a frame reads the conditioning frames (those that were prompted before any was
tracked, and those whose corrections last) and the six frames before it, and the pointers of up to sixteen
frames. All objects of all clips form one batch.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from sam2_core.model import ImageFeatures, MemoryTokens, Sam2Network
from sam2_core.model.network import NO_OBJECT_LOGIT
from sam2_core.model.prompt_encoder import PADDING
from sam2_core.simulated_user import correction_click, first_click, loose_box
from sam2_core.tracking.prompts import mask_logits
from sam2_core.tracking.results import as_prompt
from sam2_core.training.batches import ClipBatch

MASK_SCORE = 10.0  # object score of a frame whose mask was given

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Interaction:
    """What the simulated user does with a clip."""

    first: str  # "click", "box" or "mask", on every prompted frame
    corrected: frozenset[int] = frozenset()  # frames whose objects are corrected
    corrections: int = 1  # clicks for each object there, one after another
    lasting: bool = False  # whether corrected frames become conditioning frames, which are read from then on
    prompted: tuple[int, ...] = (0,)  # frames that are prompted before any is tracked, 0 first
    rng: np.random.Generator | None = None  # None: clicks go to the middle and boxes are exact


@dataclass(frozen=True)
class Prediction:
    """One decoder output for N objects on one frame, as the losses need it."""

    frame: int
    logits: Tensor  # [N, M, 4s, 4s]; M 3 for the candidates, 1 for the single mask
    iou: Tensor  # [N, M]
    score: Tensor  # [N]
    pointers: Tensor  # [N, M, C]

    def best(self) -> tuple[Tensor, Tensor]:
        """Logits [N, 4s, 4s] and pointers [N, C] of the mask with the highest predicted IoU."""
        rows = torch.arange(len(self.iou), device=self.iou.device)
        index = self.iou.argmax(dim=1)
        return self.logits[rows, index], self.pointers[rows, index]


@dataclass(frozen=True)
class _Memory:
    """What one frame leaves behind."""

    map: Tensor  # [N, Cm, s, s]
    pointer: Tensor  # [N, C]


def encode_frames(network: Sam2Network, batch: ClipBatch, checkpointing: bool = False) -> ImageFeatures:
    """Features of the T * B frames of a batch, frame by frame.

    With ``checkpointing`` every frame's activations are computed again in the backward pass. Where no
    gradient is wanted, one frame of every clip is encoded at a time, in as little memory as tracking takes.
    """
    if checkpointing:
        parts = [recomputed(_encode, network, pixels[None]) for pixels in batch.pixels()]
    elif torch.is_grad_enabled():
        return _encode(network, batch.pixels())
    else:
        parts = [_encode(network, replace(batch, frames=frame[None]).pixels()) for frame in batch.frames]
    return ImageFeatures(
        torch.cat([part.embedding for part in parts]),
        torch.cat([part.skip4 for part in parts]),
        torch.cat([part.skip8 for part in parts]),
    )


def recomputed(stage: Callable[..., _Result], *values: object) -> _Result:
    """What a stage of the network gives; its activations are not kept but computed again when needed."""
    result: _Result = checkpoint(stage, *values, use_reentrant=False)
    return result


def _encode(network: Sam2Network, pixels: Tensor) -> ImageFeatures:
    # On a CPU the backward pass of fused attention is slow over many small windows: spell it out there.
    with sdpa_kernel(SDPBackend.MATH) if pixels.is_cpu else nullcontext():
        return network.encode_image(pixels)


class Rollout:
    """One pass over one batch. Call :meth:`run` once.

    With ``checkpointing`` the activations of memory attention are computed again in the backward pass.
    """

    def __init__(
        self,
        network: Sam2Network,
        batch: ClipBatch,
        features: ImageFeatures,
        interaction: Interaction,
        checkpointing: bool = False,
    ) -> None:
        self._network = network
        self._batch = batch
        self._features = features
        self._interaction = interaction
        self._checkpointing = checkpointing
        self._device = batch.frames.device
        self._size = network.config.image_size
        self._memories: dict[int, _Memory] = {}  # by frame
        self._conditioning = list(interaction.prompted)
        self._points = torch.empty(0)
        self._labels = torch.empty(0)

    def run(self) -> list[Prediction]:
        """Every answer of the decoder in order; the last one of a frame is what the tracker would remember.

        Prompted frames come before all others. A corrected frame has two answers or more, a frame with a
        given mask has none.
        """
        frames, clips = self._batch.frames.shape[:2]
        prompted = self._interaction.prompted
        order = [*prompted, *(t for t in range(frames) if t not in prompted)]
        predictions: list[Prediction] = []
        for t in order:
            on_frame = self._features[self._batch.clip_of_object + t * clips]
            if t in prompted and self._interaction.first == "mask":
                self._remember_given_mask(t, on_frame)
            else:
                predictions.extend(self._frame(t, on_frame, last=t == order[-1]))
        return predictions

    def _frame(self, t: int, features: ImageFeatures, last: bool) -> list[Prediction]:
        embedding = features.embedding.float()
        if t in self._interaction.prompted:
            conditioned = self._network.without_memory(embedding)
            self._points, self._labels = self._first_prompt(t)
        else:
            conditioned = self._attend(embedding, self._read_memory(t))
            self._points = embedding.new_zeros(len(embedding), 0, 2)
            self._labels = torch.zeros(len(embedding), 0, dtype=torch.long, device=self._device)
        predictions = self._decode(t, conditioned, features, None)
        if self._network.config.second_look and self._points.shape[1] == 1:
            predictions += self._decode(t, conditioned, features, predictions[-1])
        if t in self._interaction.corrected:
            for _ in range(self._interaction.corrections):
                self._add_corrections(t, predictions[-1])
                predictions += self._decode(t, conditioned, features, predictions[-1])
            if self._interaction.lasting and t not in self._conditioning:
                self._conditioning.append(t)
        if not last:
            self._remember(t, embedding, predictions[-1], prompted=self._points.shape[1] > 0)
        return predictions

    def _attend(self, embedding: Tensor, memory: MemoryTokens) -> Tensor:
        if self._checkpointing:
            return recomputed(self._network.attend_memory, embedding, memory).float()
        return self._network.attend_memory(embedding, memory).float()

    def _decode(
        self, t: int, conditioned: Tensor, features: ImageFeatures, previous: Prediction | None
    ) -> list[Prediction]:
        points = self._points.shape[1]
        logits = None if previous is None else as_prompt(previous.best()[0])[:, None]
        prompts = (
            self._network.encode_prompts(self._points, self._labels, logits)
            if points
            else self._network.encode_prompts(None, None)
        )
        decoded = self._network.decode_masks(
            conditioned, features.skip4.float(), features.skip8.float(), prompts
        )
        return [
            Prediction(
                t, decoded.logits[:, masks], decoded.iou[:, masks], decoded.score, decoded.pointers[:, masks]
            )
            for masks in self._supervised(points)
        ]

    def _supervised(self, points: int) -> list[slice]:
        """Which of the four masks learn from a prompt of so many points, those that count last."""
        single, candidates = slice(0, 1), slice(1, 4)
        if self._network.config.multimask:
            return [candidates if points <= 1 else single]
        # The candidates are still there for whoever asks for them.
        return [candidates, single] if points == 1 else [single]

    def _remember(self, t: int, embedding: Tensor, prediction: Prediction, prompted: bool) -> None:
        logits, pointer = prediction.best()
        score = prediction.score
        seen = torch.where((score > 0)[:, None, None], logits, NO_OBJECT_LOGIT)
        # As in Meta's code, only what is tracked for good is binarised: training needs the gradient.
        binarize = prompted and not self._network.training
        memory = self._network.encode_memory(embedding, seen[:, None], score, binarize)
        self._memories[t] = _Memory(memory, self._network.hide_pointer(pointer, score))

    def _remember_given_mask(self, t: int, features: ImageFeatures) -> None:
        embedding = features.embedding.float()
        mask = self._batch.masks[t][:, None].float()
        decoded = self._network.decode_masks(
            embedding, features.skip4.float(), features.skip8.float(), self._network.encode_mask_prompt(mask)
        )
        logits = mask_logits(mask)
        score = torch.full_like(decoded.score, MASK_SCORE)
        memory = self._network.encode_memory(embedding, logits, score, binarize=True)
        pointer = self._network.hide_pointer(decoded.pointers[:, 0], decoded.score)
        self._memories[t] = _Memory(memory, pointer)

    def _read_memory(self, t: int) -> MemoryTokens:
        """Conditioning frames in their row, then the recent frames, newest first; pointers of past ones."""
        config, conditioning = self._network.config, self._conditioning
        recent = [frame for frame in range(t - 1, 0, -1) if frame not in conditioning]
        seen = [frame for frame in recent if t - frame < config.num_memories]
        map_frames = conditioning + seen
        pointer_frames = [frame for frame in conditioning if frame < t]
        pointer_frames += [frame for frame in recent if t - frame < config.max_pointers]
        count = len(self._memories[0].pointer)
        rows = torch.tensor([config.num_memories - 1] * len(conditioning) + [t - 1 - frame for frame in seen])
        offsets = torch.tensor([float(t - frame) for frame in pointer_frames])
        return MemoryTokens(
            maps=torch.stack([self._memories[frame].map for frame in map_frames], dim=1),
            rows=rows.to(self._device).expand(count, -1),
            pointers=torch.stack([self._memories[frame].pointer for frame in pointer_frames], dim=1),
            offsets=offsets.to(self._device).expand(count, -1),
        )

    def _first_prompt(self, t: int) -> tuple[Tensor, Tensor]:
        """Points [N, P, 2] in pixels and labels [N, P] of the prompts that a frame begins with."""
        masks, rng = self._truth(t), self._interaction.rng
        if self._interaction.first == "box":
            boxes = torch.tensor([loose_box(mask, rng) for mask in masks]).view(-1, 2, 2)
            labels = torch.tensor([[2, 3]]).expand(len(masks), -1)
            return boxes.to(self._device), labels.to(self._device)
        clicks = torch.tensor([first_click(mask, rng) for mask in masks]).view(-1, 1, 2)
        labels = torch.ones(len(masks), 1, dtype=torch.long)
        return clicks.to(self._device), labels.to(self._device)

    def _add_corrections(self, t: int, prediction: Prediction) -> None:
        """One more click for each object; a padding point where its true mask is not known."""
        logits = prediction.best()[0].detach()[:, None]
        enlarged = F.interpolate(logits, size=(self._size, self._size), mode="bilinear")
        predicted = (enlarged[:, 0] > 0).cpu().numpy()
        rng = self._interaction.rng
        clicks = [
            correction_click(found, mask, rng) if known else (0.0, 0.0, PADDING)
            for found, mask, known in zip(
                predicted, self._truth(t), self._batch.known[t].tolist(), strict=True
            )
        ]
        points = torch.tensor([[[x, y]] for x, y, _ in clicks]).to(self._device)
        labels = torch.tensor([[label] for _, _, label in clicks]).to(self._device)
        self._points = torch.cat([self._points, points], dim=1)
        self._labels = torch.cat([self._labels, labels], dim=1)

    def _truth(self, t: int) -> NDArray[np.bool_]:
        """The true masks on a frame, bool [N, S, S]."""
        masks: NDArray[np.bool_] = self._batch.masks[t].cpu().numpy()
        return masks
