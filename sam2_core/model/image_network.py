"""The image half of SAM 2 (the Segment Anything Model's task): encode an image, decode prompts."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from .config import Sam2Config
from .image_encoder import ImageEncoder
from .mask_decoder import MaskDecoder
from .precision import Precision
from .prompt_encoder import PromptEncoder, PromptTokens


@dataclass(frozen=True)
class ImageFeatures:
    """What the image encoder makes of a batch of images."""

    embedding: Tensor
    """`[B, C, s, s]`, stride 16."""
    skip4: Tensor
    """`[B, C / 8, 4s, 4s]`, stride 4."""
    skip8: Tensor
    """`[B, C / 4, 2s, 2s]`, stride 8."""

    def __getitem__(self, index: slice | Tensor) -> ImageFeatures:
        """The features of some of the images."""
        return ImageFeatures(self.embedding[index], self.skip4[index], self.skip8[index])

    def to(self, device: torch.device | str) -> ImageFeatures:
        """The same features on another device."""
        return ImageFeatures(self.embedding.to(device), self.skip4.to(device), self.skip8.to(device))


@dataclass(frozen=True)
class DecodedMasks:
    """All that the mask decoder says about N objects; index 0 is the single mask, 1 to 3 the candidates."""

    logits: Tensor
    """`[N, 4, 4s, 4s]`."""
    iou: Tensor
    """`[N, 4]`, predicted."""
    pointers: Tensor
    """`[N, 4, C]`: object pointers, before `hide_pointer`; mask tokens where there is no memory half."""
    score: Tensor
    """`[N]`, object score logit: above 0 the object is visible."""


class ImageNetwork(nn.Module):
    """Encodes images and decodes prompts on them; remembers nothing and cannot track."""

    heavy: ClassVar[tuple[str, ...]] = ("image_encoder",)
    """The modules that take almost all of the time and can do with bfloat16."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        self.config = config
        self.precision: Precision = "float32"
        """That of the heavy stages."""
        self.image_encoder = ImageEncoder(config)
        self.sam_prompt_encoder = PromptEncoder(config)
        self.sam_mask_decoder = MaskDecoder(config)
        self.no_mem_embed = nn.Parameter(0.02 * torch.randn(1, 1, config.hidden_dim))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.no_mem_embed.device

    def reduce_precision(self) -> None:
        """Computes the heavy stages in bfloat16 from now on, for inference only.

        Norms, residuals, positions, prompts, masks, scores and pointers stay in float32, and so does all that
        goes into a stage or comes out of it.
        """
        self.precision = "bfloat16"
        for name in self.heavy:
            for layer in self.get_submodule(name).modules():
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    layer.to(torch.bfloat16)

    def _heavy_stage(self) -> AbstractContextManager[object]:
        """The precision of what is computed inside."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def encode_image(self, pixels: Tensor) -> ImageFeatures:
        """Stage 1: normalised pixels `[B, 3, S, S]` to features."""
        decoder = self.sam_mask_decoder
        with self._heavy_stage():
            stride4, stride8, stride16 = self.image_encoder(pixels)
            skip4, skip8 = decoder.conv_s0(stride4), decoder.conv_s1(stride8)
        return ImageFeatures(stride16.float(), skip4.float(), skip8.float())

    def without_memory(self, embedding: Tensor) -> Tensor:
        """Stage 2 for a frame that nothing is remembered for: `[B, C, s, s]` to the same."""
        return embedding + self.no_mem_embed.view(1, -1, 1, 1)

    def encode_prompts(
        self, points: Tensor | None, labels: Tensor | None, mask_logits: Tensor | None = None
    ) -> PromptTokens:
        """Prompts of N objects, in pixels of the S x S input; see `PromptEncoder.forward`.

        Without points the prompt is one padding point, which is how a frame is tracked.
        """
        if points is None or labels is None:
            count = 1 if mask_logits is None else len(mask_logits)
            points = self.no_mem_embed.new_zeros(count, 1, 2)
            labels = torch.full((count, 1), -1, device=self.device)
        return self.sam_prompt_encoder(points, labels, mask_logits)

    def decode_masks(
        self, embedding: Tensor, skip4: Tensor, skip8: Tensor, prompts: PromptTokens
    ) -> DecodedMasks:
        """Stage 3: conditioned embedding `[N, C, s, s]`, skips `[1 or N, ...]` and prompts to masks.

        One prompt serves all N objects where `prompts` holds only one.
        """
        count = max(len(embedding), len(prompts.sparse))
        prompts = PromptTokens(prompts.sparse.expand(count, -1, -1), prompts.dense)
        positions = self.sam_prompt_encoder.dense_positions()
        return DecodedMasks(
            *self.sam_mask_decoder(embedding.expand(count, -1, -1, -1), positions, skip4, skip8, prompts)
        )
