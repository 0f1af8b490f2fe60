"""What a caller can get wrong; after any of these the tracker's state is as it was."""

from __future__ import annotations


class TrackingError(ValueError):
    """A request cannot be met; the message names the thing, the value and what is allowed."""


class PromptError(TrackingError):
    """A prompt is malformed or does not fit the frame."""


class MaskTooSmallError(PromptError):
    """A mask prompt has no pixel left at the resolution of the network's masks."""


class UnknownObjectError(TrackingError):
    """No object of that id is tracked."""


class TooManyObjectsError(TrackingError):
    """Another object would exceed `TrackerOptions.max_objects`."""


class StampError(TrackingError):
    """A frame is not newer than the one before it."""


class FrameRangeError(TrackingError):
    """The video has no such frame, or a pass has nowhere to start."""


class FrameNotHeldError(TrackingError):
    """The frame that a prompt means is not held (any more).

    Attributes:
        oldest: stamp of the oldest held frame [ns]; None while no frame is held.
    """

    def __init__(self, message: str, oldest: int | None) -> None:
        super().__init__(message)
        self.oldest = oldest
