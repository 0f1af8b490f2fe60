"""State over time: prompts, the memory bank, streams and recorded videos; and single images."""

from .errors import (
    FrameNotHeldError,
    FrameRangeError,
    MaskTooSmallError,
    PromptError,
    StampError,
    TooManyObjectsError,
    TrackingError,
    UnknownObjectError,
)
from .frames import HeldFrame
from .image import EncodedImage, ImageSegmenter
from .options import TrackerOptions, VideoOptions
from .prompts import MaskPrompt, PointPrompt, Prompt
from .results import FrameResult, ObjectResult, SegmentationResult, TrackedObject
from .tracker import StreamingTracker
from .video import FrameSource, VideoSegmenter

__all__ = [
    "EncodedImage",
    "FrameNotHeldError",
    "FrameRangeError",
    "FrameResult",
    "FrameSource",
    "HeldFrame",
    "ImageSegmenter",
    "MaskPrompt",
    "MaskTooSmallError",
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
    "VideoOptions",
    "VideoSegmenter",
]
