"""State over time: prompts, the memory bank, the tracker; and segmentation of single images."""

from .errors import (
    FrameNotHeldError,
    PromptError,
    StampError,
    TooManyObjectsError,
    TrackingError,
    UnknownObjectError,
)
from .image import ImageSegmenter
from .options import TrackerOptions
from .prompts import MaskPrompt, PointPrompt, Prompt
from .results import FrameResult, ObjectResult, SegmentationResult, TrackedObject
from .tracker import StreamingTracker

__all__ = [
    "FrameNotHeldError",
    "FrameResult",
    "ImageSegmenter",
    "MaskPrompt",
    "ObjectResult",
    "PointPrompt",
    "Prompt",
    "PromptError",
    "SegmentationResult",
    "StampError",
    "StreamingTracker",
    "TooManyObjectsError",
    "TrackedObject",
    "TrackerOptions",
    "TrackingError",
    "UnknownObjectError",
]
