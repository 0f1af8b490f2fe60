"""What `sam2-eval` tells of a dataset under the semi-supervised protocol: figures as JSON and Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .object_scores import ObjectFrames, Scores, mean_scores, summarise_object
from .visibility import Visibility, judge


@dataclass(frozen=True)
class VideoScores:
    """One video, scored object by object."""

    name: str
    objects: Mapping[str, ObjectFrames]

    @property
    def scores(self) -> dict[str, Scores]:
        return {key: summarise_object(one) for key, one in self.objects.items()}

    @property
    def mean(self) -> Scores:
        return mean_scores(list(self.scores.values()))

    @property
    def visibility(self) -> Visibility:
        return judge(list(self.objects.values()))


def mean_over_objects(videos: Sequence[VideoScores]) -> Scores:
    """The figures of a dataset, as DAVIS has them: the mean over the objects of all videos."""
    return mean_scores([scores for video in videos for scores in video.scores.values()])


def to_json(
    about: Mapping[str, Any], videos: Sequence[VideoScores], problems: Sequence[str]
) -> dict[str, Any]:
    """All figures of a dataset.

    Args:
        about: what was evaluated on what.
        videos: at least one.
        problems: what is wrong with the files.
    """
    return {
        **about,
        **_figures(mean_over_objects(videos), _visibility(videos)),
        "objects": sum(len(video.objects) for video in videos),
        "videos": {
            video.name: {
                **_figures(video.mean, video.visibility),
                "objects": {
                    name: _figures(scores, judge([video.objects[name]]))
                    for name, scores in video.scores.items()
                },
            }
            for video in videos
        },
        "problems": list(problems),
    }


def to_markdown(
    about: Mapping[str, Any],
    videos: Sequence[VideoScores],
    problems: Sequence[str],
    pictures: Mapping[str, str],
) -> str:
    """The same as `to_json` for people: tables, and pictures (path by video) of the worst videos."""
    objects = sum(len(video.objects) for video in videos)
    lines = ["# Semi-supervised video object segmentation", "", *describe(about)]
    lines += [f"- scored: {objects} objects in {len(videos)} videos", "", _HEAD, _RULE]
    lines += [_row("**all objects**", objects, mean_over_objects(videos))]
    lines += [_row(escape(video.name), len(video.objects), video.mean) for video in videos]
    lines += ["", *_J_AND_F, "", "## Visibility", "", _VISIBILITY_HEAD, _VISIBILITY_RULE]
    lines += [_visibility_row("**all objects**", _visibility(videos))]
    for video in videos:
        lines += [_visibility_row(escape(video.name), video.visibility)]
        if len(video.objects) > 1:
            lines += [
                _visibility_row(escape(f"{video.name}, object {name}"), judge([one]))
                for name, one in video.objects.items()
            ]
    lines += ["", *_VISIBILITY]
    return "\n".join([*lines, *faults_and_pictures(problems, pictures)]) + "\n"


def escape(text: str) -> str:
    """A text in Markdown, also in a table or as a picture's name; underscores within words stay."""
    return re.sub(r"[\\`*|<&\[\]]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)


def describe(about: Mapping[str, Any]) -> list[str]:
    """What was evaluated on what, as a list."""
    return [f"- {key}: {escape(str(value))}" for key, value in about.items()]


def faults_and_pictures(
    problems: Sequence[str], pictures: Mapping[str, str], title: str = "The worst videos"
) -> list[str]:
    """The end of every report: what is wrong with the files, and the worst cases (path by name)."""
    lines = []
    if problems:
        lines += ["", "## Faults", "", *(f"- {escape(problem)}" for problem in problems)]
    if pictures:
        lines += ["", f"## {title}"]
    for name, path in pictures.items():
        lines += ["", f"![{escape(name)}]({path})"]
    return lines


_HEAD = "| video | objects | J&F | J mean | J recall | J decay | F mean | F recall | F decay |"
_RULE = "|---|" + "---:|" * 8
_J_AND_F = (
    "J is the overlap of the masks, F the accuracy of their boundaries (DAVIS 2017), each from 0",
    "to 1. Recall: the share of frames above 0.5. Decay: the mean over the first quarter of the frames",
    "minus that over the last one.",
)
_VISIBILITY_HEAD = (
    "| video | frames hidden | accuracy | precision | recall | returns | found again | frames until found |"
)
_VISIBILITY_RULE = "|---|" + "---:|" * 7
_VISIBILITY = (
    "Whether the tracker calls an object visible: by its occlusion head, or, for a folder of masks, whether",
    "the mask has a pixel. Precision: of the object-frames called visible, the share that is; recall: of",
    "those visible, the share called so. An object returns on a frame that shows it again after it was",
    "hidden; it is found again on the first frame from there on, before it hides once more, on which its J",
    "is above 0.5. The frames until then (0: at once) are a mean over those found again.",
)


def _visibility(videos: Sequence[VideoScores]) -> Visibility:
    return judge([one for video in videos for one in video.objects.values()])


def _figures(scores: Scores, visibility: Visibility) -> dict[str, Any]:
    return {"jf": scores.jf, **asdict(scores), "visibility": asdict(visibility)}


def _row(name: str, objects: int, scores: Scores) -> str:
    values = [scores.jf]
    for one in (scores.j, scores.f):
        values += [one.mean, one.recall, one.decay]
    return f"| {name} | {objects} | " + " | ".join(f"{value:.3f}" for value in values) + " |"


def _visibility_row(name: str, one: Visibility) -> str:
    shares = [share(value) for value in (one.accuracy, one.precision, one.recall)]
    until = "" if one.frames_until_found is None else f"{one.frames_until_found:.1f}"
    cells = [name, one.hidden_frames, *shares, one.returns, share(one.found_again), until]
    return "| " + " | ".join(map(str, cells)) + " |"


def share(value: float | None) -> str:
    """A share as per cent; empty where there was no case."""
    return "" if value is None else f"{value:.1%}"
