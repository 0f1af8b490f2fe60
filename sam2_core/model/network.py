"""SAM 2's network as four stateless stages (DESIGN: the seam), differentiable throughout.

Attribute names are those of the released checkpoints, so that a state dict loads as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .config import Sam2Config
from .image_network import DecodedMasks, ImageNetwork
from .layers import ObjectLinear, ObjectMLP, flatten_map, unflatten_map, upsample_logits
from .memory_attention import MemoryAttention
from .memory_encoder import MemoryEncoder
from .positions import frequencies, sine_map, sine_time
from .prompt_encoder import PromptTokens

NO_OBJECT_LOGIT = -1024.0
"""Mask logit everywhere on a frame where the object is not visible."""
MEMORY_MASK_SCALE, MEMORY_MASK_BIAS = 20.0, -10.0
"""A mask enters the memory encoder as 20 * probability - 10, in the range of SAM's logits."""


@dataclass(frozen=True)
class MemoryTokens:
    """What memory attention reads for N objects: K memories and P pointers each."""

    maps: Tensor
    """`[N, K, Cm, s, s]`."""
    rows: Tensor
    """int64 `[N, K]`, rows of the temporal encoding: frames ago - 1; the last for a conditioning frame."""
    pointers: Tensor
    """`[N, P, C]`."""
    offsets: Tensor
    """`[N, P]`, frames from the pointer's frame to this one, where the history reaches `max_pointers` frames;
    stretched in proportion where a clip is shorter than that."""
    map_valid: Tensor | None = None
    """bool `[N, K]`: False slots are not read, whatever they hold. None: all are read."""
    pointer_valid: Tensor | None = None
    """bool `[N, P]`, likewise; None exactly where `map_valid` is None."""


class Sam2Network(ImageNetwork):
    """SAM 2 / SAM 2.1 with the weights' own conventions; the reference executor of the four stages."""

    heavy = ("image_encoder", "memory_attention", "memory_encoder")
    sine_embedding: Tensor
    sine_memory: Tensor
    time_frequencies: Tensor

    def __init__(self, config: Sam2Config) -> None:
        super().__init__(config)
        dim, memory_dim = config.hidden_dim, config.memory_dim
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.memory_attention = MemoryAttention(config)
        self.memory_encoder = MemoryEncoder(config)
        self.obj_ptr_proj = ObjectMLP((dim, dim, dim, dim))
        self.maskmem_tpos_enc = nn.Parameter(0.02 * torch.randn(config.num_memories, 1, 1, memory_dim))
        # No released configuration reads this one; it is in every checkpoint.
        self.no_mem_pos_enc = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.no_obj_ptr = nn.Parameter(0.02 * torch.randn(1, dim))
        if config.generation == "2.1":
            self.no_obj_embed_spatial = nn.Parameter(0.02 * torch.randn(1, memory_dim))
            self.obj_ptr_tpos_proj = ObjectLinear(dim, memory_dim)
        size = config.embedding_size
        self.register_buffer("sine_embedding", sine_map(dim, size).flatten(1).T, persistent=False)
        self.register_buffer("sine_memory", sine_map(memory_dim, size).flatten(1).T, persistent=False)
        self.register_buffer("time_frequencies", frequencies(dim // 2), persistent=False)

    def attend_memory(self, embedding: Tensor, memory: MemoryTokens) -> Tensor:
        """Stage 2: conditions `[1 or N, C, s, s]` on the memory of N objects, `[N, C, s, s]`."""
        count = memory.maps.shape[1]
        maps = memory.maps.flatten(3).transpose(2, 3)
        map_positions = self.sine_memory + self.maskmem_tpos_enc[memory.rows].flatten(2, 3)
        splits = self.config.pointer_splits
        pointers = memory.pointers.unflatten(2, (splits, -1)).flatten(1, 2)
        pointer_positions = self._pointer_positions(memory.offsets).repeat_interleave(splits, dim=1)
        values = torch.cat([maps.flatten(1, 2), pointers], dim=1)
        keys = torch.cat([(maps + map_positions).flatten(1, 2), pointers + pointer_positions], dim=1)
        x = flatten_map(embedding) + 0.1 * self.sine_embedding
        with self._heavy_stage():
            x = self.memory_attention(x, keys, values, count, self._readable(memory))
        return unflatten_map(x, self.config.embedding_size)

    def _pointer_positions(self, offsets: Tensor) -> Tensor:
        """Time encoding of pointers: offsets `[N, P]` [frames] to `[N, P, Cm]`."""
        if self.config.generation == "2.0":
            return offsets.new_zeros(*offsets.shape, self.config.memory_dim)
        time = sine_time(offsets / (self.config.max_pointers - 1), self.time_frequencies)
        # Each by itself: how many there are depends on the longest history in the batch.
        encoded = self.obj_ptr_tpos_proj(time.flatten(0, 1)[:, None])
        return encoded.view(*offsets.shape, self.config.memory_dim)

    def _readable(self, memory: MemoryTokens) -> Tensor | None:
        """Which tokens are those of valid slots: bool `[N, tokens]`; None where all are."""
        if memory.map_valid is None or memory.pointer_valid is None:
            return None
        maps = memory.map_valid.repeat_interleave(self.config.embedding_size**2, dim=1)
        pointers = memory.pointer_valid.repeat_interleave(self.config.pointer_splits, dim=1)
        return torch.cat([maps, pointers], dim=1)

    def encode_mask_prompt(self, mask: Tensor) -> PromptTokens:
        """A mask that is taken as it is: `[N, 1, S, S]` of 0 and 1, brought to SAM's logit scale."""
        return self.encode_prompts(None, None, self.mask_downsample(mask))

    def decode_masks(
        self, embedding: Tensor, skip4: Tensor, skip8: Tensor, prompts: PromptTokens
    ) -> DecodedMasks:
        """Stage 3, with the object pointers that the next frames will read."""
        decoded = super().decode_masks(embedding, skip4, skip8, prompts)
        return replace(decoded, pointers=self.obj_ptr_proj(decoded.pointers))

    def hide_pointer(self, pointer: Tensor, score: Tensor) -> Tensor:
        """Replaces pointers `[N, C]` of objects that are not visible (score `[N]` <= 0)."""
        return torch.where(score[:, None] > 0, pointer, self.no_obj_ptr.to(pointer.dtype))

    def encode_memory(
        self, embedding: Tensor, logits: Tensor, score: Tensor, binarize: bool = False
    ) -> Tensor:
        """Stage 4: the memory `[N, Cm, s, s]` of masks on a frame.

        Args:
            embedding: `[1 or N, C, s, s]`, not conditioned.
            logits: `[N, 1, 4s, 4s]`.
            score: `[N]`, object score logit.
            binarize: whether the mask enters as 0 and 1 (prompted frames) or as probabilities.
        """
        mask = upsample_logits(logits, self.config.image_size)
        mask = (mask > 0).to(mask.dtype) if binarize else mask.sigmoid()
        with self._heavy_stage():
            memory = self.memory_encoder(embedding, mask * MEMORY_MASK_SCALE + MEMORY_MASK_BIAS)
        memory = memory.float()
        if self.config.generation == "2.1":
            hidden = (score <= 0).float()[:, None, None, None]
            memory = memory + hidden * self.no_obj_embed_spatial[..., None, None]
        return memory
