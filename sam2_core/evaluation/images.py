"""Interactive segmentation of single images: SAM's protocol (Kirillov et al. 2023, section 7.1).

Every object is asked for by itself: with a click in its middle, then with further clicks in the middle of the
largest error of the answer before, each time with that answer's logits; and, apart from that, with its box.
One click is ambiguous, so a model with several candidates answers with the one that it believes in most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..backends import ImageBackend
from ..simulated_user import correction_click, loose_box
from ..tracking import ImageSegmenter, PointPrompt
from .metrics import mask_iou

COUNTS = (1, 3, 5)
"""After so many clicks the answer is scored."""
BOX = "box"
PROMPTS = (*(f"{count} click{'s' if count > 1 else ''}" for count in COUNTS), BOX)
"""What is scored, by the names that the results have."""
BoolMask = NDArray[np.bool_]  # [H, W]
_AT_ONCE = 8
"""Objects asked for together: their answers' masks, of the image's size, are held until all are done."""


@dataclass(frozen=True)
class Answers:
    """How one object was segmented, by what was told of it (`PROMPTS`)."""

    masks: dict[str, BoolMask] = field(default_factory=dict)
    iou: dict[str, float] = field(default_factory=dict)
    clicks: list[tuple[float, float, int]] = field(default_factory=list)
    """x, y, label: 1 on the object, 0 not on it."""


def segment_objects(
    backend: ImageBackend, image: NDArray[np.uint8], truth: dict[str, BoolMask]
) -> Iterator[tuple[str, Answers]]:
    """Asks for every object of an image; yields each with its name. The masks of a few are held at a time.

    Args:
        image: uint8 [H, W, 3], RGB.
        truth: the objects' masks, none of them empty.
    """
    segmenter = ImageSegmenter(backend)
    segmenter.set_image(image)
    names = list(truth)
    for start in range(0, len(names), _AT_ONCE):
        some = {name: truth[name] for name in names[start : start + _AT_ONCE]}
        yield from _segment_together(segmenter, some).items()


def _segment_together(segmenter: ImageSegmenter, truth: dict[str, BoolMask]) -> dict[str, Answers]:
    names = list(truth)
    answers = {name: Answers() for name in names}

    def keep(prompt: str, masks: list[BoolMask]) -> None:
        for name, mask in zip(names, masks, strict=True):
            answers[name].masks[prompt] = mask
            answers[name].iou[prompt] = mask_iou(mask, truth[name])

    boxes = [PointPrompt(box=loose_box(truth[name], None)) for name in names]
    keep(BOX, [one.masks[0] for one in segmenter.predict_batch(boxes)])

    shown = [np.zeros_like(truth[name]) for name in names]
    logits: list[NDArray[np.float32] | None] = [None] * len(names)
    for count in range(1, max(COUNTS) + 1):
        for name, mask in zip(names, shown, strict=True):
            answers[name].clicks.append(correction_click(mask, truth[name]))
        prompts = [_points(answers[name].clicks) for name in names]
        ambiguous = count == 1 and segmenter.backend.config.multimask
        results = segmenter.predict_batch(prompts, ambiguous, logits)
        shown = [one.masks[0] for one in results]
        logits = [one.logits[0] for one in results]
        if count in COUNTS:
            keep(PROMPTS[COUNTS.index(count)], shown)
    return answers


def _points(clicks: list[tuple[float, float, int]]) -> PointPrompt:
    return PointPrompt([(x, y) for x, y, _ in clicks], [label for _, _, label in clicks])
