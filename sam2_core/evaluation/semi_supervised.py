"""Semi-supervised video object segmentation: each object's first mask is given, the others are to be found.

The protocol is that of DAVIS 2017: every object is scored on its annotated frames but the first one, where
its mask is given, and the last annotated one. The public code of SA-V does the same. How the server of
YouTube-VOS treats those two frames is not public; here its objects are scored like the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..backends import Backend
from ..tracking import MaskPrompt, VideoSegmenter
from ..tracking.passes import plan_passes
from ..tracking.results import upscale_logits
from .dataset import AnnotatedVideo
from .davis import Statistics, boundary_accuracy, statistics
from .mask_folders import MaskFolder
from .metrics import mask_iou


@dataclass(frozen=True)
class ObjectFrames:
    """How one object was found; the fields have one entry for each scored frame."""

    frames: list[str]
    j: list[float]
    f: list[float]
    shown: list[bool]
    """Whether the predicted mask has a pixel."""
    in_view: list[bool]
    """Whether the true one has."""


@dataclass(frozen=True)
class Scores:
    """J and F of an object over its frames, or their means over objects."""

    j: Statistics
    f: Statistics

    @property
    def jf(self) -> float:
        """J&F: the mean of both means."""
        return (self.j.mean + self.f.mean) / 2


def predict(backend: Backend, video: AnnotatedVideo, folder: Path) -> Iterator[str]:
    """Tracks every object from its first mask to the end, and writes a video's masks to a folder of its own.

    The masks are laid out as the true ones are, on every frame from the first mask on. As in the paper's
    evaluation the video is a recorded one (`VideoSegmenter`), which is gone through once.

    Yields:
        The name of each frame that is written.

    Raises:
        VideoError: a frame cannot be decoded.
    """
    segmenter = VideoSegmenter(backend, video.images)
    names = video.frames
    first: dict[int, int] = {}
    for object_id, (name, frames) in enumerate(video.annotated.items(), start=1):
        mask = video.masks.read(frames[0], [name], video.size)[name]
        first[object_id] = names.index(frames[0])
        segmenter.add_prompt(first[object_id], MaskPrompt(mask), object_id, label=name)
    masks = video.masks.at(folder)
    for one in plan_passes(first, len(names), forward=True, backward=False):
        start, last = one.frames[0], one.frames[-1]
        for index, result in segmenter.propagate(start, last, objects=one.objects):
            logits = {found.label: upscale_logits(found.logits, found.size) for found in result.objects}
            masks.write(names[index], logits)
            yield names[index]


def score(video: AnnotatedVideo, predicted: MaskFolder) -> dict[str, ObjectFrames]:
    """Compares predicted masks with the true ones, by object; one without a frame to score is left out.

    An object that a palette image does not name is taken as hidden.

    Raises:
        DatasetFileError: a predicted mask is missing, unreadable or of another size.
    """
    scored = {name: set(frames) for name, frames in video.scored.items() if frames}
    found = {name: ObjectFrames([], [], [], [], []) for name in scored}
    for frame in video.masks.frames:
        present = [name for name, frames in scored.items() if frame in frames]
        if not present:
            continue
        truth = video.masks.read(frame, present, video.size)
        answer = predicted.read(frame, present, video.size)
        for name in present:
            one = found[name]
            one.frames.append(frame)
            one.j.append(mask_iou(answer[name], truth[name]))
            one.f.append(boundary_accuracy(answer[name], truth[name]))
            one.shown.append(bool(answer[name].any()))
            one.in_view.append(bool(truth[name].any()))
    return found


def summarise_object(found: ObjectFrames) -> Scores:
    """The scores of one object."""
    return Scores(statistics(found.j), statistics(found.f))


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """The mean over objects, each of the same weight.

    Raises:
        ValueError: there are none.
    """
    if not scores:
        raise ValueError("there is no object to take the mean of")
    return Scores(_mean([one.j for one in scores]), _mean([one.f for one in scores]))


def _mean(ones: Sequence[Statistics]) -> Statistics:
    mean, recall, decay = np.mean([(one.mean, one.recall, one.decay) for one in ones], axis=0)
    return Statistics(float(mean), float(recall), float(decay))
