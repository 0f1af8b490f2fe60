"""What a user may tune about tracking."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MaskOptions:
    """When a single mask gives way to the candidates; the defaults give the official predictor's numbers."""

    stability_delta: float = 0.05
    """Half the width of the band of logits in which a stable mask has few pixels."""
    stability_threshold: float = 0.98
    """Below this stability a single mask gives way to the best candidate of the multimask."""


@dataclass(frozen=True)
class PromptOptions(MaskOptions):
    """What a prompt does; the defaults give the official predictor's numbers."""

    lasting_corrections: bool = False
    """Whether a corrected frame becomes a conditioning frame, which is read from then on, as in the training
    of the released weights. Otherwise it is read for `Sam2Config.recent_memories` frames, like any tracked
    one. The official predictor calls it `add_all_frames_to_correct_as_cond`."""


@dataclass(frozen=True)
class TrackerOptions(PromptOptions):
    """Options of `StreamingTracker`; the defaults give the official predictor's numbers."""

    max_objects: int = 16
    """Objects tracked at once at most; each costs time on every frame."""
    held_frames: int = 8
    """Newest frames that may still be prompted; a prompt on an older one is refused."""
    max_conditioning_frames: int = 16
    """Prompted frames kept per object: the first, then the newest. No effect until more were prompted."""

    def __post_init__(self) -> None:
        _require_positive(self, "max_objects", "held_frames", "max_conditioning_frames")


@dataclass(frozen=True)
class VideoOptions(PromptOptions):
    """Options of `VideoSegmenter`; the defaults give the official predictor's numbers."""

    max_conditioning_frames: int = 16
    """Prompted frames read per object: the first, then the closest in time. No effect until more were
    prompted."""
    cached_frames: int = 8
    """Encoded frames kept for the next prompt or pass; the least recently touched one goes first."""
    held_memories: int = 64
    """Memories per object kept in RAM; older ones wait in a temporary file until they are read again."""

    def __post_init__(self) -> None:
        _require_positive(self, "max_conditioning_frames", "cached_frames", "held_memories")


def _require_positive(options: object, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value < 1:
            raise ValueError(f"{name} is {value}; allowed: 1 or more")
