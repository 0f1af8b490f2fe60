"""The numbers that a checkpoint fixes, for every released model and for the bundled one.

Names follow the paper (arXiv 2408.00714) and the published checkpoints: `sam2.1_hiera_tiny` is the model that
Meta ships as `sam2.1_hiera_tiny.pt`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class HieraConfig:
    """The image encoder's trunk (Hiera, arXiv 2306.00989)."""

    width: int
    """Channels of the first stage; every later stage doubles them."""
    heads: int
    """Attention heads of the first stage; every later stage doubles them."""
    depths: tuple[int, int, int, int]
    """Blocks in each of the four stages (strides 4, 8, 16, 32)."""
    global_blocks: tuple[int, ...]
    """Blocks, counted over all stages, that attend to the whole image instead of to a window."""
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    """Side of the attention window in each stage [tokens]."""
    position_grid: int = 7
    """Side of the learned position grid, which is stretched to the first stage's resolution."""


@dataclass(frozen=True)
class Sam2Config:
    """Everything about a SAM 2 network that its weights depend on."""

    name: str
    hiera: HieraConfig
    generation: Literal["2.0", "2.1"] = "2.1"
    """2.1 adds the time encoding of object pointers and the no-object embedding of memories."""
    image_size: int = 1024
    """S: side of the square network input [px]."""
    hidden_dim: int = 256
    """C: channels of the image embedding, the object pointers and the mask decoder."""
    memory_dim: int = 64
    """Cm: channels of a memory; a pointer is split into C / Cm memory tokens."""
    memory_layers: int = 4
    memory_mlp_dim: int = 2048
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    iou_head_dim: int = 256
    num_memories: int = 7
    """Rows of the temporal encoding: one per recent frame that is read and one for conditioning frames."""
    max_pointers: int = 16
    """Object pointers that memory attention reads at most, and the unit of their time encoding."""
    multimask: bool = True
    """Whether a single click, and a frame without prompts, is answered with the best of three candidates, as
    the released models were trained to; otherwise with the single mask."""
    second_look: bool = False
    """Whether the one mask that answers a single click goes back into the decoder with that click, and what
    it says then is the answer: a step without a new point, as in the training of SAM (appendix A). Whoever
    asks for three candidates gets those of the first look. The released models answer once."""
    tolerates_bfloat16: bool = True
    """Whether masks computed in bfloat16 have an IoU of 0.99 and more with those computed in float32."""

    @property
    def embedding_size(self) -> int:
        """s: side of the image embedding (stride 16)."""
        return self.image_size // 16

    @property
    def mask_size(self) -> int:
        """Side of the low-resolution mask logits (stride 4)."""
        return self.image_size // 4

    @property
    def recent_memories(self) -> int:
        """How many frames back the spatial memory reaches, conditioning frames apart."""
        return self.num_memories - 1

    @property
    def pointer_splits(self) -> int:
        """Memory tokens per object pointer."""
        return self.hidden_dim // self.memory_dim


_TINY = HieraConfig(96, 1, (1, 2, 7, 2), (5, 7, 9))
_SMALL = HieraConfig(96, 1, (1, 2, 11, 2), (7, 10, 13))
_BASE_PLUS = HieraConfig(112, 2, (2, 3, 16, 3), (12, 16, 20), position_grid=14)
_LARGE = HieraConfig(144, 2, (2, 6, 36, 4), (23, 33, 43), windows=(8, 4, 16, 8))

_PICO = Sam2Config(
    name="sam2_pico",
    # At 20 x 20 tokens a window saves little: stages 3 and 4 attend globally.
    hiera=HieraConfig(32, 1, (1, 2, 5, 2), (4, 5, 6, 7, 8, 9), windows=(8, 4, 16, 8), position_grid=8),
    image_size=320,
    hidden_dim=128,
    memory_dim=32,
    memory_layers=2,
    memory_mlp_dim=256,
    decoder_heads=4,
    decoder_mlp_dim=256,
    iou_head_dim=128,
    # Three recent frames say as much as six do (docs/model_card.md), and are read in two thirds of the time.
    num_memories=4,
    multimask=False,
    second_look=True,
    # Its edges are soft: IoU 0.97 on real images, where changing the weights by 0.1 % costs half as much.
    tolerates_bfloat16=False,
)


def _released() -> list[Sam2Config]:
    sizes = {"tiny": _TINY, "small": _SMALL, "base_plus": _BASE_PLUS, "large": _LARGE}
    v21 = [Sam2Config(f"sam2.1_hiera_{size}", hiera) for size, hiera in sizes.items()]
    v20 = [replace(c, name=c.name.replace("sam2.1", "sam2"), generation="2.0") for c in v21]
    return v21 + v20


CONFIGS: dict[str, Sam2Config] = {config.name: config for config in [_PICO, *_released()]}
"""Every known configuration by name."""
