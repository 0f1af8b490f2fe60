"""What `sam2-eval` tells of a whole dataset: figures as JSON and Markdown, pictures of the worst videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contact_sheet import Tile, Timeline, contact_sheet
from ..drawing import draw_overlay
from .dataset import AnnotatedVideo
from .mask_folders import MaskFolder
from .semi_supervised import ObjectFrames, Scores, mean_scores, summarise_object

_SHOWN_FRAMES = 4


@dataclass(frozen=True)
class VideoScores:
    """One video, scored object by object."""

    name: str
    objects: Mapping[str, Scores]

    @property
    def mean(self) -> Scores:
        return mean_scores(list(self.objects.values()))


def summarise_video(name: str, found: Mapping[str, ObjectFrames]) -> VideoScores:
    """The scores of a video with at least one object."""
    return VideoScores(name, {key: summarise_object(one) for key, one in found.items()})


def mean_over_objects(videos: Sequence[VideoScores]) -> Scores:
    """The figures of a dataset, as DAVIS has them: the mean over the objects of all videos."""
    return mean_scores([scores for video in videos for scores in video.objects.values()])


def to_json(
    about: Mapping[str, str], videos: Sequence[VideoScores], problems: Sequence[str]
) -> dict[str, Any]:
    """All figures of a dataset.

    Args:
        about: what was evaluated on what.
        videos: at least one.
        problems: what is wrong with the files.
    """
    return {
        **about,
        **_figures(mean_over_objects(videos)),
        "objects": sum(len(video.objects) for video in videos),
        "videos": {
            video.name: {
                **_figures(video.mean),
                "objects": {name: _figures(scores) for name, scores in video.objects.items()},
            }
            for video in videos
        },
        "problems": list(problems),
    }


def to_markdown(
    about: Mapping[str, str],
    videos: Sequence[VideoScores],
    problems: Sequence[str],
    pictures: Mapping[str, str],
) -> str:
    """The same as `to_json` for people: tables, and pictures (path by video) of the worst videos."""
    objects = sum(len(video.objects) for video in videos)
    lines = ["# Semi-supervised video object segmentation", ""]
    lines += [f"- {key}: {value}" for key, value in about.items()]
    lines += [f"- scored: {objects} objects in {len(videos)} videos", "", _HEAD, _RULE]
    lines += [_row("**all objects**", objects, mean_over_objects(videos))]
    lines += [_row(video.name, len(video.objects), video.mean) for video in videos]
    lines += [
        "",
        "J is the overlap of the masks, F the accuracy of their boundaries (DAVIS 2017), each from 0",
    ]
    lines += [
        "to 1. Recall: the share of frames above 0.5. Decay: the mean over the first quarter of the frames"
    ]
    lines += ["minus that over the last one."]
    if problems:
        lines += ["", "## Faults", "", *(f"- {problem}" for problem in problems)]
    if pictures:
        lines += ["", "## The worst videos"]
    for name, path in pictures.items():
        lines += ["", f"![{name}]({path})"]
    return "\n".join(lines) + "\n"


_HEAD = "| video | objects | J&F | J mean | J recall | J decay | F mean | F recall | F decay |"
_RULE = "|---|" + "---:|" * 8


def draw_video(
    video: AnnotatedVideo, predicted: MaskFolder, found: Mapping[str, ObjectFrames]
) -> NDArray[np.uint8]:
    """The frames of a video with the lowest J&F, what was found above what is true, over J in time.

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
            tiles.append(Tile(draw_overlay(video.images.image(place[frame]), shown), float(place[frame])))
    timelines = [
        Timeline(
            id=number[name],
            label=label[name],
            times=np.array([place[frame] for frame in one.frames], float),
            visible=np.array(one.shown),
            iou=np.array(one.j),
            in_view=np.array(one.in_view),
            note=f"J&F {summarise_object(one).jf:.3f}",
        )
        for name, one in found.items()
    ]
    subtitle = "above: what was found; below: what is true"
    return contact_sheet(tiles, timelines, video.name, subtitle, columns=len(worst), time_format="#{:.0f}")


@dataclass(frozen=True)
class _Shown:
    id: int
    label: str
    mask: NDArray[np.bool_]

    @property
    def visible(self) -> bool:
        return bool(self.mask.any())


def _figures(scores: Scores) -> dict[str, Any]:
    return {"jf": scores.jf, **asdict(scores)}


def _row(name: str, objects: int, scores: Scores) -> str:
    values = [scores.jf]
    for one in (scores.j, scores.f):
        values += [one.mean, one.recall, one.decay]
    return f"| {name} | {objects} | " + " | ".join(f"{value:.3f}" for value in values) + " |"
