"""Semi-supervised video object segmentation: each object's first mask is given, the others are to be found.

Masks of one image a frame are scored as in DAVIS 2017: every object on the annotated frames after the first
that shows it, where its mask is given, but the last one. The public code of DAVIS takes the highest value on
a video's first frame for the number of its objects; it leaves out an object that appears later with a higher
value, scores one with a lower value from the second frame on, and counts a value that no pixel has as an
object of J = F = 1 as long as the tracker leaves it out too: there it is not followed. How the server of
YouTube-VOS treats the first and the last frame is not public; here its objects are scored like the others.

Masks of one folder an object are scored as by the public code of SA-V: on the object's own files but the
first and the last, from the first of them on which the truth or the answer shows the object.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ..backends import Backend
from ..files import replacing
from ..tracking import MaskPrompt, MaskTooSmallError, VideoSegmenter
from ..tracking.passes import plan_passes
from ..tracking.results import upscale_logits
from .dataset import AnnotatedVideo
from .mask_folders import DatasetFileError, MaskFolder
from .object_scores import ObjectFrames

_SCORES = "scores.json"
ObjectScores = Mapping[str, Mapping[str, float]]
"""The occlusion head's logit by object, then by frame; above 0 the object is called visible."""


def predict(backend: Backend, video: AnnotatedVideo, folder: Path, advance: Callable[[], None]) -> None:
    """Tracks every object from its first mask to the end, and writes what it finds to a folder of its own.

    The masks are laid out as the true ones are, on every frame from the first mask on; in a folder an object
    has for itself, there is an empty one for each true one before that. Beside them lies `scores.json` with
    the object scores. As in the paper's evaluation the video is a recorded one (`VideoSegmenter`), which is
    gone through once. An object whose first mask is too small for the network is not found on any frame.

    Args:
        advance: called after each frame.

    Raises:
        VideoError: a frame cannot be decoded.
    """
    segmenter = VideoSegmenter(backend, video.images)
    masks = video.masks.at(folder)
    names = video.frames
    first: dict[int, int] = {}
    for object_id, (name, frames) in enumerate(video.annotated.items(), start=1):
        mask = video.masks.read(frames[0], [name], video.size)[name]
        start = names.index(frames[0])
        try:
            segmenter.add_prompt(start, MaskPrompt(mask), object_id, label=name)
            first[object_id] = start
        except MaskTooSmallError:
            for frame in names[start:]:
                masks.write(frame, {name: np.zeros(video.size, np.float32)})
    for name in video.masks.named:
        for frame in video.masks.annotated(name):
            if frame not in video.annotated.get(name, ()):
                masks.write(frame, {name: np.zeros(video.size, np.float32)})
    scores: dict[str, dict[str, float]] = {name: {} for name in video.annotated}
    for one in plan_passes(first, len(names), forward=True, backward=False):
        start, last = one.frames[0], one.frames[-1]
        for index, result in segmenter.propagate(start, last, objects=one.objects):
            logits = {found.label: upscale_logits(found.logits, found.size) for found in result.objects}
            masks.write(names[index], logits)
            for found in result.objects:
                scores[found.label][names[index]] = found.score
            advance()
    with replacing(folder / _SCORES) as temporary:
        temporary.write_text(json.dumps(scores) + "\n")


def read_object_scores(folder: Path) -> ObjectScores:
    """The object scores that `predict` left beside its masks; none in a folder of another tracker.

    Raises:
        DatasetFileError: the file holds something else.
    """
    path = folder / _SCORES
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
        return {
            name: {frame: float(logit) for frame, logit in logits.items()} for name, logits in content.items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise DatasetFileError(
            path, "is no file of object scores; allowed: logits by object and frame"
        ) from error


def score(
    video: AnnotatedVideo, predicted: MaskFolder, object_scores: ObjectScores
) -> dict[str, ObjectFrames]:
    """Compares predicted masks with the true ones, by object; one without a frame to score is left out.

    Before its first mask an object is not asked for: a frame there matters only if it counts for J and F.

    An object without an object score on a frame counts as called visible where its mask has a pixel; so does
    one that a palette image does not name as hidden.

    Raises:
        DatasetFileError: a predicted mask is missing, unreadable or of another size.
    """
    scored = {name: set(frames) for name, frames in video.scored.items() if frames}
    found = {name: ObjectFrames() for name in scored}
    place = {frame: index for index, frame in enumerate(video.frames)}
    for frame in video.masks.frames:
        present = [name for name, frames in scored.items() if frame in frames]
        if not present:
            continue
        truth = video.masks.read(frame, present, video.size)
        answer = predicted.read(frame, present, video.size)
        for name in present:
            logit = object_scores.get(name, {}).get(frame)
            shown = bool(answer[name].any()) if logit is None else logit > 0
            seen = any(found[name].counts) or bool(answer[name].any() or truth[name].any())
            counts = seen or video.masks.counts_unseen
            if counts or frame in video.annotated[name]:
                found[name].add(frame, place[frame], answer[name], truth[name], shown, counts)
    return found
