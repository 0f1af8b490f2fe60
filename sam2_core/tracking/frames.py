"""The newest frames, held so that they can still be prompted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from ..backends import Backend
from ..model import ImageFeatures
from ..model.preprocess import preprocess
from .errors import FrameNotHeldError, StampError


class HeldFrame:
    """One image of the stream; it is encoded when its features are first needed.

    Args:
        index: position in the session, 0 for the first frame.
        stamp: [ns].
        image: uint8 `[H, W, 3]`, RGB; not copied, so it must not be changed afterwards.
        backend: encodes the image.
    """

    def __init__(self, index: int, stamp: int, image: NDArray[np.uint8], backend: Backend) -> None:
        self.index = index
        self.stamp = stamp
        self.image = image
        self._backend = backend
        self._ahead: _EncodedAhead | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image."""
        return self.image.shape[0], self.image.shape[1]

    @cached_property
    def features(self) -> ImageFeatures:
        """The encoded image, a batch of one."""
        return self._encode() if self._ahead is None else self._ahead.result()

    def prefetch(self) -> None:
        """Begins to encode the image, on a GPU, beside what that computes already."""
        if self._ahead is None and "features" not in vars(self):
            self._ahead = _EncodedAhead(self._encode, self._backend.device)

    def _encode(self) -> ImageFeatures:
        pixels = preprocess(self.image, self._backend.config.image_size, self._backend.device)
        return self._backend.encode_image(pixels[None])


class _EncodedAhead:
    """Features that a GPU computes on a stream of its own."""

    def __init__(self, encode: Callable[[], ImageFeatures], device: torch.device) -> None:
        stream = _side_stream(device)
        with torch.cuda.stream(stream):
            self._features = encode()
            self._done = stream.record_event()

    def result(self) -> ImageFeatures:
        """The features, for the stream that asks: that one waits for them, the host does not."""
        stream = torch.cuda.current_stream(self._features.embedding.device)
        stream.wait_event(self._done)
        for tensor in (self._features.embedding, self._features.skip4, self._features.skip8):
            tensor.record_stream(stream)  # whose memory may be used anew only when that stream is done too
        return self._features


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


class FrameBuffer:
    """The newest `capacity` frames of a session, in order of stamp."""

    def __init__(self, capacity: int, backend: Backend) -> None:
        self._frames: deque[HeldFrame] = deque(maxlen=capacity)
        self._kept: list[HeldFrame] = []
        self._backend = backend
        self._count = 0

    def next(self, image: NDArray[np.uint8], stamp: int) -> HeldFrame:
        """The frame that follows the newest one; it is not held before it is pushed.

        Raises:
            StampError: the stamp [ns] is not larger than that of the newest frame.
            ValueError: the image is not uint8 `[H, W, 3]` with at least one pixel.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(f"image is {image.dtype} {image.shape}; allowed: uint8 [H, W, 3], not empty")
        if self._frames and stamp <= self._frames[-1].stamp:
            raise StampError(
                f"stamp {stamp} ns; allowed: more than the last frame's, {self._frames[-1].stamp} ns"
            )
        return HeldFrame(self._count, stamp, image, self._backend)

    def push(self, frame: HeldFrame) -> None:
        """Holds the `next` frame and lets go of the oldest one."""
        self._frames.append(frame)
        self._count = frame.index + 1

    def find(self, stamp: int | None) -> HeldFrame:
        """The frame of a stamp [ns]; None means the newest.

        Raises:
            FrameNotHeldError: no held frame has that stamp.
        """
        if not self._frames:
            raise FrameNotHeldError("no frame has arrived yet", None)
        if stamp is None:
            return self._frames[-1]
        for frame in (*self._kept, *self._frames):
            if frame.stamp == stamp:
                return frame
        oldest, newest = self._frames[0].stamp, self._frames[-1].stamp
        raise FrameNotHeldError(
            f"no frame with stamp {stamp} ns is held; the oldest held is {oldest} ns, the newest {newest} ns",
            oldest,
        )

    @contextmanager
    def keep(self, frame: HeldFrame) -> Iterator[None]:
        """Holds a frame in any case, until the end of the context or of the session."""
        self._kept.append(frame)
        try:
            yield
        finally:
            if frame in self._kept:
                self._kept.remove(frame)

    def after(self, frame: HeldFrame) -> list[HeldFrame]:
        """The held frames that are newer than one of them, in order."""
        return [held for held in self._frames if held.index > frame.index]

    def clear(self, passed: int = 0) -> None:
        """Lets go of every frame; the next one is the first of a session, or follows `passed` others."""
        self._frames.clear()
        self._kept.clear()
        self._count = passed

    @property
    def stamps(self) -> tuple[int, ...]:
        """Stamps of the held frames [ns], oldest first."""
        return tuple(sorted({frame.stamp for frame in (*self._kept, *self._frames)}))
