"""What `sam2-eval` tells of a dataset under the offline and online protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..chart import Line, draw_chart
from .interactive import Interaction
from .object_scores import Scores, mean_scores, summarise_object
from .report import describe, escape, faults_and_pictures

_COLOURS = {"J&F": (31, 120, 180), "J": (44, 160, 44), "F": (214, 120, 39)}


@dataclass(frozen=True)
class VideoRounds:
    """One video: how its objects were found with 1, 2, ... frames to click on."""

    name: str
    objects: Mapping[str, Interaction]

    @property
    def jf(self) -> float:
        """Over all objects and rounds: the videos are ordered by it."""
        return float(np.mean([scores.jf for scores in rounds([self])]))


def rounds(videos: Sequence[VideoRounds]) -> list[Scores]:
    """The means over the objects of all videos; entry n - 1: with n frames to click on."""
    objects = [one.rounds for video in videos for one in video.objects.values()]
    return [mean_scores([summarise_object(one) for one in ones]) for ones in zip(*objects, strict=True)]


def to_json(
    about: Mapping[str, Any], videos: Sequence[VideoRounds], problems: Sequence[str]
) -> dict[str, Any]:
    """All figures of a dataset; the lists have one entry for each number of frames to click on, from 1.

    "mean" holds the means over these numbers.
    """
    return {
        **about,
        **_figures(rounds(videos)),
        "mean": _means(rounds(videos)),
        "objects": sum(len(video.objects) for video in videos),
        "videos": {
            video.name: {
                **_figures(rounds([video])),
                "objects": {
                    name: {
                        **_figures([summarise_object(found) for found in one.rounds]),
                        "clicked_frames": list(dict.fromkeys(click.frame for click in one.clicks)),
                    }
                    for name, one in video.objects.items()
                },
            }
            for video in videos
        },
        "problems": list(problems),
    }


def to_markdown(
    title: str,
    about: Mapping[str, Any],
    videos: Sequence[VideoRounds],
    problems: Sequence[str],
    pictures: Mapping[str, str],
    chart: str,
) -> str:
    """The same as `to_json` for people, with the chart (a path) and pictures of the worst videos."""
    objects = sum(len(video.objects) for video in videos)
    total = rounds(videos)
    lines = [f"# {title}", "", *describe(about), f"- scored: {objects} objects in {len(videos)} videos", ""]
    lines += ["| frames with clicks | J&F | J | F |", "|---:|---:|---:|---:|"]
    lines += [
        f"| {count} | {one.jf:.3f} | {one.j.mean:.3f} | {one.f.mean:.3f} |"
        for count, one in enumerate(total, start=1)
    ]
    lines += ["| **mean** | " + " | ".join(f"{value:.3f}" for value in _means(total).values()) + " |"]
    lines += ["", f"![J&F against the number of frames with clicks]({chart})", ""]
    lines += ["J&F by the number of frames with clicks, at most:", ""]
    lines += ["| video | objects |" + "".join(f" {count + 1} |" for count in range(len(total)))]
    lines += ["|---|---:|" + "---:|" * len(total)]
    for video in videos:
        lines += [_row(escape(video.name), video)]
        if len(video.objects) > 1:
            lines += [
                _row(escape(f"{video.name}, object {name}"), VideoRounds(video.name, {name: one}))
                for name, one in video.objects.items()
            ]
    return "\n".join([*lines, *faults_and_pictures(problems, pictures)]) + "\n"


def draw_rounds(videos: Sequence[VideoRounds]) -> NDArray[np.uint8]:
    """J&F, J and F against the number of frames with clicks: uint8 [H, W, 3]."""
    total = rounds(videos)
    values = {
        "J&F": [one.jf for one in total],
        "J": [one.j.mean for one in total],
        "F": [one.f.mean for one in total],
    }
    lines = [
        Line(name, list(enumerate(ones, start=1)), _COLOURS[name], marked=True)
        for name, ones in values.items()
    ]
    return draw_chart(lines, "frames with clicks", range(1, max(2, len(total)) + 1))


def _row(title: str, video: VideoRounds) -> str:
    values = " | ".join(f"{one.jf:.3f}" for one in rounds([video]))
    return f"| {title} | {len(video.objects)} | {values} |"


def _figures(ones: Sequence[Scores]) -> dict[str, list[float]]:
    return {
        "jf": [one.jf for one in ones],
        "j": [one.j.mean for one in ones],
        "f": [one.f.mean for one in ones],
    }


def _means(ones: Sequence[Scores]) -> dict[str, float]:
    return {name: float(np.mean(values)) for name, values in _figures(ones).items()}
