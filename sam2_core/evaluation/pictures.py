"""Pictures of the worst cases, for the reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..contact_sheet import Tile, Timeline, contact_sheet
from ..drawing import draw_click, draw_overlay
from ..masks import tight_box
from .dataset import AnnotatedVideo
from .images import PROMPTS, Answers
from .interactive import Click
from .mask_folders import MaskFolder
from .object_scores import ObjectFrames, summarise_object

_SHOWN_FRAMES = 4
_AROUND = 0.5  # of an object's box that is shown on each of its sides
_LEAST_AROUND = 24  # px


@dataclass(frozen=True)
class _Shown:
    id: int
    label: str
    mask: NDArray[np.bool_]

    @property
    def visible(self) -> bool:
        return bool(self.mask.any())


def draw_video(
    video: AnnotatedVideo,
    predicted: MaskFolder,
    found: Mapping[str, ObjectFrames],
    clicks: Mapping[str, Sequence[Click]],
) -> NDArray[np.uint8]:
    """The frames of a video with the lowest J&F, what was found above what is true, over J in time.

    Args:
        clicks: by object; those on the frames that are shown are marked in what was found.

    Returns uint8 [H, W, 3].

    Raises:
        DatasetFileError: a mask cannot be read any more.
        VideoError: a frame cannot be decoded.
    """
    place = {name: index for index, name in enumerate(video.frames)}
    number = {name: index for index, name in enumerate(video.annotated, start=1)}
    label = {name: "" if name == str(index) else name for name, index in number.items()}
    on_frame: dict[str, list[float]] = {}
    for one in found.values():
        for frame, j, f in zip(one.frames, one.j, one.f, strict=True):
            on_frame.setdefault(frame, []).append((j + f) / 2)
    worst = sorted(on_frame, key=lambda frame: float(np.mean(on_frame[frame])))[:_SHOWN_FRAMES]
    tiles = []
    for masks in (predicted, video.masks):
        for frame in sorted(worst, key=place.__getitem__):
            present = [name for name, one in found.items() if frame in one.frames]
            shown = [
                _Shown(number[name], label[name], mask)
                for name, mask in masks.read(frame, present, video.size).items()
            ]
            picture = draw_overlay(video.images.image(place[frame]), shown)
            if masks is predicted:
                for name, ones in clicks.items():
                    _mark(picture, [one for one in ones if one.frame == place[frame]], number[name])
            tiles.append(Tile(picture, float(place[frame])))
    timelines = [
        Timeline(
            id=number[name],
            label=label[name],
            times=np.array(one.at, float),
            visible=np.array(one.shown),
            iou=np.array(one.j),
            in_view=np.array(one.in_view),
            note=f"J&F {summarise_object(one).jf:.3f}",
        )
        for name, one in found.items()
    ]
    subtitle = "above: what was found; below: what is true"
    return contact_sheet(tiles, timelines, video.name, subtitle, columns=len(worst), time_format="#{:.0f}")


def draw_object(
    image: NDArray[np.uint8], title: str, answers: Answers, truth: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """One object of an image as it was segmented after each kind of prompt, and as it is: uint8 [H, W, 3]."""
    rows, columns = _window(truth)
    masks = [*(answers.masks[prompt] for prompt in PROMPTS), truth]
    tiles = []
    for index, mask in enumerate(masks):
        picture = draw_overlay(image, [_Shown(1, "", mask)])
        if index < len(PROMPTS) and PROMPTS[index][0].isdigit():
            clicks = answers.clicks[: int(PROMPTS[index].split()[0])]
            _mark(picture, [Click(0, *click) for click in clicks], 1)
        tiles.append(Tile(picture[rows, columns], float(index + 1)))
    told = [f"({i}) {name}: IoU {answers.iou[name]:.2f}" for i, name in enumerate(PROMPTS, start=1)]
    subtitle = "; ".join([*told, f"({len(masks)}) what is true"])
    return contact_sheet(tiles, [], title, subtitle, columns=len(tiles), time_format="({:.0f})")


def _window(truth: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of the object with what is around it."""
    box = tight_box(truth)
    assert box is not None, "an object to segment has a pixel"
    x0, y0, x1, y1 = box
    across, down = (max(_LEAST_AROUND, round(_AROUND * side)) for side in (x1 - x0, y1 - y0))
    return slice(max(0, y0 - down), y1 + down), slice(max(0, x0 - across), x1 + across)


def _mark(picture: NDArray[np.uint8], clicks: Sequence[Click], object_id: int) -> None:
    """Clicks on the object as dots in its colour, those beside it with a black centre."""
    for click in clicks:
        draw_click(picture, click.x, click.y, object_id, positive=bool(click.label))
