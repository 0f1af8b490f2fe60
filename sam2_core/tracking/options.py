"""What a user may tune about tracking."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrackerOptions:
    """Options of `StreamingTracker`; the defaults give the official predictor's numbers."""

    max_objects: int = 16
    """Objects tracked at once at most; each costs time on every frame."""
    held_frames: int = 8
    """Newest frames that may still be prompted; a prompt on an older one is refused."""
    max_conditioning_frames: int = 16
    """Prompted frames kept per object: the first, then the newest. No effect until more were prompted."""
    stability_delta: float = 0.05
    """Half the width of the band of logits in which a stable mask has few pixels."""
    stability_threshold: float = 0.98
    """Below this stability a single mask gives way to the best candidate of the multimask."""

    def __post_init__(self) -> None:
        for name in ("max_objects", "held_frames", "max_conditioning_frames"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} is {value}; allowed: 1 or more")
