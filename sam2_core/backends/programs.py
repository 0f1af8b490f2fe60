"""Stages as programs of fixed shapes: exported to ONNX, built by TensorRT, captured into CUDA graphs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..model import Sam2Config
from ..model.mask_decoder import NUM_MASKS

STAGES = ("encode_image", "attend_memory", "decode_tracked", "decode_prompted", "encode_memory")
"""The four stages of the seam; the mask decoder as two programs, since a tracked frame has no prompt."""

PROMPT_TOKENS = 10
"""Prompt tokens of `decode_prompted`: nine points, two of which may be a box, and the padding."""


@dataclass(frozen=True)
class Bucket:
    """One stage at one fixed shape."""

    stage: str
    """One of `STAGES`."""
    objects: int = 1
    """N; 1 for encode_image, which knows no objects."""
    maps: int = 0
    """K, memories that attend_memory reads of every object; 0 for the other stages."""
    pointers: int = 0
    """P, pointers that it reads; 0 for the other stages."""

    @property
    def name(self) -> str:
        """Unique among the buckets of a model, fit for a file name: `attend_memory_n4_k7_p16`."""
        parts = [self.stage]
        if self.stage != "encode_image":
            parts.append(f"n{self.objects}")
        if self.maps:
            parts += [f"k{self.maps}", f"p{self.pointers}"]
        return "_".join(parts)


HISTORIES = ("full", "buckets")
"""For which histories attend_memory may be exported: a full one, or also shorter and longer ones."""
_SHORT = (1, 3)
"""Maps of the shorter ones."""
_MORE_PROMPTED = 3
"""Prompted frames that a longer one has beyond the first."""


def long_history(config: Sam2Config) -> Bucket:
    """For objects with several prompted frames, one after the other."""
    maps, pointers = config.num_memories + _MORE_PROMPTED, config.max_pointers + _MORE_PROMPTED
    return Bucket("attend_memory", 1, maps, pointers)


def stage_buckets(config: Sam2Config, objects: Iterable[int], history: str) -> list[Bucket]:
    """All stages, for each number of objects and each length of a history, one of `HISTORIES`.

    A stream reads the maps and pointers of its recent frames, and one of both per prompted frame. With one
    prompted frame a history is full.
    """
    lengths = [(config.num_memories, config.max_pointers)]
    if history == "buckets":
        longer = long_history(config)
        short = [(maps, config.max_pointers) for maps in _SHORT if maps < config.num_memories]
        lengths = [*short, *lengths, (longer.maps, longer.pointers)]
    buckets = [Bucket("encode_image")]
    for count in sorted(set(objects)):
        buckets += [Bucket("attend_memory", count, *length) for length in lengths]
        buckets += [Bucket(s, count) for s in ("decode_tracked", "decode_prompted", "encode_memory")]
    return buckets


@dataclass(frozen=True)
class TensorSpec:
    """Shape and type of one input or output."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a program, by name, in their order. Between stages everything is float32."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


class Program(Protocol):
    """A bucket that is ready to run."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Runs it on the tensors of the signature, which must lie on the program's device.

        The outputs are the program's own buffers: they hold until its next call.
        """
        ...


def signature(bucket: Bucket, config: Sam2Config) -> Signature:
    """What goes into a bucket's program and what comes out of it; shapes are those of `Sam2Network`'s stages.

    `map_valid`, `pointer_valid` and `token_valid` are False on slots that must not change any output.
    """
    n, k, p = bucket.objects, bucket.maps, bucket.pointers
    size, side = config.image_size, config.embedding_size
    dim, memory_dim = config.hidden_dim, config.memory_dim
    frame = TensorSpec((1, dim, side, side))
    skips = {
        "skip4": TensorSpec((1, dim // 8, 4 * side, 4 * side)),
        "skip8": TensorSpec((1, dim // 4, 2 * side, 2 * side)),
    }
    conditioned = TensorSpec((n, dim, side, side))
    decoded = {
        "logits": TensorSpec((n, NUM_MASKS, 4 * side, 4 * side)),
        "iou": TensorSpec((n, NUM_MASKS)),
        "pointers": TensorSpec((n, NUM_MASKS, dim)),
        "score": TensorSpec((n,)),
    }
    match bucket.stage:
        case "encode_image":
            return Signature({"pixels": TensorSpec((1, 3, size, size))}, {"embedding": frame, **skips})
        case "attend_memory":
            inputs = {
                "embedding": frame,
                "maps": TensorSpec((n, k, memory_dim, side, side)),
                "rows": TensorSpec((n, k), torch.int64),
                "pointers": TensorSpec((n, p, dim)),
                "offsets": TensorSpec((n, p)),
                "map_valid": TensorSpec((n, k), torch.bool),
                "pointer_valid": TensorSpec((n, p), torch.bool),
            }
            return Signature(inputs, {"conditioned": conditioned})
        case "decode_tracked":
            return Signature({"embedding": conditioned, **skips}, decoded)
        case "decode_prompted":
            prompts = {
                "sparse": TensorSpec((n, PROMPT_TOKENS, dim)),
                "token_valid": TensorSpec((n, PROMPT_TOKENS), torch.bool),
                "dense": TensorSpec((n, dim, side, side)),
            }
            return Signature({"embedding": conditioned, **skips, **prompts}, decoded)
        case "encode_memory":
            inputs = {
                "embedding": frame,
                "logits": TensorSpec((n, 1, 4 * side, 4 * side)),
                "score": TensorSpec((n,)),
                "binarize": TensorSpec((n,), torch.bool),
            }
            return Signature(inputs, {"memory": TensorSpec((n, memory_dim, side, side))})
    raise ValueError(f"stage {bucket.stage!r} is unknown; allowed: {', '.join(STAGES)}")
