"""Promptable video segmentation, as the paper measures it (section 6.1 and its appendix).

A simulated user looks for frames that went wrong and clicks on them. The first click is in the middle of
the object on its first frame; every further one is in the middle of the largest error, which is the point
farthest from the error's edge. The objects of a video are independent of each other.

- Offline: the video is gone through again and again. Before each pass but the first, the annotated frame
  with the lowest IoU, among those not clicked on yet, gets clicks.
- Online: the video is gone through once. Where the IoU falls below 0.75 the user pauses and clicks, as long
  as there are frames left to click on; what came before stays as it was.

What is scored is every annotated frame from the first one on, those with clicks included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..backends import Backend
from ..simulated_user import correction_click
from ..tracking import (
    ObjectResult,
    PointPrompt,
    StreamingTracker,
    TrackerOptions,
    VideoOptions,
    VideoSegmenter,
)
from ..tracking.passes import plan_passes
from ..tracking.results import upscale_logits
from .dataset import AnnotatedVideo
from .mask_folders import ObjectFolders
from .metrics import mask_iou
from .object_scores import ObjectFrames

PAUSE_BELOW = 0.75
"""The IoU below which the user of an online tracker corrects it."""
BoolMask = NDArray[np.bool_]  # [H, W]


@dataclass(frozen=True)
class Effort:
    """How much the simulated user does for each object; the defaults are the paper's."""

    frames: int = 8
    """The frames that get clicks, at most."""
    clicks: int = 3
    """On each of them."""


@dataclass(frozen=True)
class Click:
    """A click of the simulated user."""

    frame: int
    """Its number in the video, from 0."""
    x: float
    y: float
    label: int
    """1 on the object, 0 not on it."""


@dataclass(frozen=True)
class Interaction:
    """How an object was found with 1, 2, ... frames to click on."""

    clicks: list[Click] = field(default_factory=list)
    """Those of the longest interaction, in order of time."""
    rounds: list[ObjectFrames] = field(default_factory=list)
    """Entry n - 1: with at most n frames to click on."""


def offline_rounds(video: AnnotatedVideo, effort: Effort) -> int:
    """The passes that are worth making: no frame is clicked on twice."""
    return min(effort.frames, max(map(len, video.annotated.values())))


def track_offline(
    backend: Backend,
    video: AnnotatedVideo,
    effort: Effort,
    lasting_corrections: bool,
    masks: ObjectFolders,
    advance: Callable[[], None],
) -> dict[str, Interaction]:
    """Goes through a video `offline_rounds` times, each time after clicks on every object's worst frame.

    Args:
        lasting_corrections: see `PromptOptions`.
        masks: where those of the last round go, for the annotated frames.
        advance: called after each frame of each pass.

    Raises:
        DatasetFileError: a true mask cannot be read any more.
        VideoError: a frame cannot be decoded.
    """
    options = VideoOptions(lasting_corrections=lasting_corrections)
    segmenter = VideoSegmenter(backend, video.images, options)
    truth = _Truth(video)
    found = {name: Interaction() for name in truth.first}
    ids = {name: object_id for object_id, name in enumerate(truth.first, start=1)}
    passes = plan_passes({ids[name]: at for name, at in truth.first.items()}, len(video.images), True, False)
    worst = {name: _Frame(at, 0.0, np.zeros(video.size, bool)) for name, at in truth.first.items()}
    clicked: dict[str, set[int]] = {name: set() for name in found}

    rounds = offline_rounds(video, effort)
    for number in range(1, rounds + 1):
        for name, frame in worst.items():

            def ask(prompt: PointPrompt, at: int = frame.at, name: str = name) -> ObjectResult:
                return segmenter.add_prompt(at, prompt, ids[name], name, clear_previous=False)

            right = truth.on(frame.at)[name]
            found[name].clicks.extend(_click(ask, frame.at, frame.mask, right, effort.clicks)[1])
            clicked[name].add(frame.at)
        worst.clear()
        for one in found.values():
            one.rounds.append(ObjectFrames())
        for part in passes:
            for at, result in segmenter.propagate(part.frames[0], part.frames[-1], objects=part.objects):
                answers = {answer.label: answer for answer in result.objects}
                for name, right in truth.on(at).items():
                    shown = answers[name]
                    scores = found[name].rounds[-1]
                    scores.add(truth.frames[at], at, shown.mask, right, shown.visible)
                    unclicked = at not in clicked[name]
                    if unclicked and (name not in worst or scores.j[-1] < worst[name].iou):
                        worst[name] = _Frame(at, scores.j[-1], shown.mask)
                    if number == rounds:
                        masks.write(truth.frames[at], {name: upscale_logits(shown.logits, shown.size)})
                advance()
    for one in found.values():
        one.rounds.extend(one.rounds[-1:] * (effort.frames - rounds))
    return found


def track_online(
    backend: Backend,
    video: AnnotatedVideo,
    effort: Effort,
    lasting_corrections: bool,
    masks: ObjectFolders,
    advance: Callable[[], None],
) -> dict[str, Interaction]:
    """Streams a video once, and corrects each object where it goes wrong.

    To know what 1, 2, ... frames of clicks are worth, every object is tracked once for each of these budgets,
    side by side; tracked objects do not influence each other.

    Args, errors: as of `track_offline`; `masks` gets those of the largest budget.
    """
    truth = _Truth(video)
    budgets = range(1, effort.frames + 1)
    options = TrackerOptions(
        max_objects=len(truth.first) * len(budgets), held_frames=1, lasting_corrections=lasting_corrections
    )
    tracker = StreamingTracker(backend, options)
    found = {name: Interaction(rounds=[ObjectFrames() for _ in budgets]) for name in truth.first}
    ids: dict[tuple[str, int], int] = {}
    spent = dict.fromkeys(((name, budget) for name in found for budget in budgets), 0)

    for at in range(min(truth.first.values()), len(video.images)):
        result = tracker.track(video.images.image(at), video.images.stamp(at))
        answers = {answer.id: answer for answer in result.objects}
        for name, right in truth.on(at).items():
            for budget in budgets:
                key = (name, budget)
                scores = found[name].rounds[budget - 1]
                shown = answers.get(ids.get(key, 0))
                mask = shown.mask if shown else np.zeros(video.size, bool)
                if shown is None or (spent[key] < budget and mask_iou(mask, right) < PAUSE_BELOW):

                    def ask(prompt: PointPrompt, key: tuple[str, int] = key) -> ObjectResult:
                        answer = tracker.add_prompt(prompt, ids.get(key), key[0], clear_previous=False)
                        ids[key] = answer.id
                        return answer

                    shown, clicks = _click(ask, at, mask, right, effort.clicks)
                    spent[key] += 1
                    if budget == effort.frames:
                        found[name].clicks.extend(clicks)
                scores.add(truth.frames[at], at, shown.mask, right, shown.visible)
                if budget == effort.frames:
                    masks.write(truth.frames[at], {name: upscale_logits(shown.logits, shown.size)})
        advance()
    return found


@dataclass(frozen=True)
class _Frame:
    """A frame to click on, and how the object was found there."""

    at: int
    iou: float
    mask: BoolMask


class _Truth:
    """The true masks of a video by the number of their frame."""

    def __init__(self, video: AnnotatedVideo) -> None:
        self.frames = video.frames
        """The frames' names."""
        place = {frame: index for index, frame in enumerate(self.frames)}
        self.first = {name: place[frames[0]] for name, frames in video.annotated.items()}
        """The number of each object's first frame."""
        self._video = video
        self._annotated: dict[int, list[str]] = {}
        for name, frames in video.annotated.items():
            for frame in frames:
                self._annotated.setdefault(place[frame], []).append(name)

    def on(self, at: int) -> Mapping[str, BoolMask]:
        """The masks of the objects that are annotated on a frame."""
        names = self._annotated.get(at, [])
        return self._video.masks.read(self.frames[at], names, self._video.size) if names else {}


def _click(
    ask: Callable[[PointPrompt], ObjectResult], at: int, shown: BoolMask, truth: BoolMask, count: int
) -> tuple[ObjectResult, list[Click]]:
    """Clicks on the largest error, `count` times, each time after the answer to the click before."""
    clicks = []
    for _ in range(count):
        x, y, label = correction_click(shown, truth)
        answer = ask(PointPrompt([[x, y]], [label]))
        shown = answer.mask
        clicks.append(Click(at, x, y, label))
    return answer, clicks
