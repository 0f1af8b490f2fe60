"""Prompts, masks and stamps: this package's messages to and from the values of `sam2_core`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from sam2_core.masks import Box, decode_rle, encode_rle
from sam2_core.tracking import MaskPrompt, ObjectResult, PointPrompt, PromptError
from sam2_core.tracking import TrackedObject as TrackedIdentity
from sam2_ros.images import ImageError, gray_from_image, image_from_array
from sam2_ros.msg import ObjectMask, PixelPoint, Prompt, RunLengthMask, TrackedObject

_SECOND = 1_000_000_000


def nanoseconds(stamp: Time) -> int:
    """A stamp as nanoseconds since its clock's zero."""
    return stamp.sec * _SECOND + stamp.nanosec


def time_message(stamp: int) -> Time:
    """Nanoseconds since a clock's zero as a stamp."""
    seconds, rest = divmod(stamp, _SECOND)
    return Time(sec=seconds, nanosec=rest)


def prompt_from_message(message: Prompt) -> PointPrompt | MaskPrompt:
    """The prompt that a message holds. Coordinates are checked later, against the frame that they are on.

    Raises PromptError for an empty prompt, points and labels of unequal number, a box that has not two
    corners, a mask together with points or a box, and a mask that cannot be read.
    """
    if len(message.mask.data):
        if message.points or message.box:
            raise PromptError("the prompt holds a mask and also points or a box; allowed: one or the other")
        try:
            return MaskPrompt(gray_from_image(message.mask) != 0)
        except ImageError as error:
            raise PromptError(f"mask: {error}") from error
    if len(message.box) not in (0, 2):
        raise PromptError(f"box has {len(message.box)} corners; allowed: two, top left and bottom right")
    return PointPrompt(
        points=[(point.x, point.y) for point in message.points],
        labels=list(message.labels),
        box=[value for corner in message.box for value in (corner.x, corner.y)] or None,
    )


def point_prompt_message(
    points: Iterable[tuple[float, float]] = (),
    labels: Iterable[int] = (),
    box: tuple[float, float, float, float] | None = None,
) -> Prompt:
    """A prompt of points (x, y) with their labels, and a box (x0, y0, x1, y1), in pixels of the image."""
    corners = [] if box is None else [box[:2], box[2:]]
    return Prompt(
        points=[PixelPoint(x=float(x), y=float(y)) for x, y in points],
        labels=list(labels),
        box=[PixelPoint(x=float(x), y=float(y)) for x, y in corners],
    )


def mask_prompt_message(mask: NDArray[np.bool_]) -> Prompt:
    """A prompt of a mask of the frame's size, bool [H, W]."""
    return Prompt(mask=image_from_array(mask.astype(np.uint8) * 255, "mono8", Header()))


def object_mask_message(result: ObjectResult) -> ObjectMask:
    """One object on one frame, its mask run-length encoded and its box tight around the mask."""
    return mask_message(
        result.mask,
        result.box,
        id=result.id,
        label=result.label,
        score=result.score,
        predicted_iou=result.iou,
    )


def mask_message(
    mask: NDArray[np.bool_], box: Box | None, *, id: int, label: str, score: float, predicted_iou: float
) -> ObjectMask:
    """An ObjectMask of a mask bool [H, W] and its box; score is the raw logit of the object's visibility."""
    x0, y0, x1, y1 = box or (0, 0, 0, 0)
    height, width = mask.shape
    return ObjectMask(
        id=id,
        label=label,
        visible=bool(score > 0),
        score=float(score),
        predicted_iou=float(predicted_iou),
        box=RegionOfInterest(x_offset=x0, y_offset=y0, width=x1 - x0, height=y1 - y0),
        mask=RunLengthMask(height=height, width=width, counts=encode_rle(mask)),
    )


def mask_from_message(message: RunLengthMask) -> NDArray[np.bool_]:
    """The mask of a message, bool [H, W]. Raises ValueError where its code is wrong."""
    return decode_rle(message.counts, message.height, message.width)


def tracked_object_message(identity: TrackedIdentity) -> TrackedObject:
    """The identity of a tracked object."""
    return TrackedObject(id=identity.id, label=identity.label, since=time_message(identity.since))
