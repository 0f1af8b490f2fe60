"""The protocols by which `sam2-eval` scores a tracker: what each reads, asks, keeps and reports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..backends import Backend
from . import image_report, interactive_report, report
from .dataset import AnnotatedVideo, VideoFolders, find_videos, read_video
from .image_dataset import AnnotatedImage, ImageSource, find_images, load_image
from .images import segment_objects
from .interactive import Click, Effort, Interaction, offline_rounds, track_offline, track_online
from .mask_folders import ObjectFolders, files_of
from .object_scores import ObjectFrames
from .pictures import draw_object, draw_video
from .semi_supervised import predict, read_object_scores, score

Picture = NDArray[np.uint8]  # [H, W, 3], RGB
Found = Mapping[str, Any]
"""What `ScoringProtocol.evaluate` gives of a subject, as JSON has it; empty without anything to score."""
WORST = 5
"""So many of the worst cases have a picture."""


class Named(Protocol):
    """Part of a dataset, known by its name."""

    @property
    def name(self) -> str: ...
    @property
    def files(self) -> list[Path]:
        """All that it is read from; one may be missing."""
        ...


Item = TypeVar("Item", bound=Named)
Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Report:
    """What is told of a dataset, but for the pictures of the worst cases."""

    figures: Callable[[Sequence[str]], dict[str, Any]]
    """Everything, given what is wrong with the files."""
    text: Callable[[Sequence[str], Mapping[str, str]], str]
    """The same as Markdown, given also the pictures' paths by title."""
    summary: str
    """One line for the terminal."""
    worst: list[tuple[str, str, str]]
    """Title, item and part of the item of each of the worst cases, the worst one first."""
    charts: Mapping[str, Picture]
    """By file name."""


class ScoringProtocol(ABC, Generic[Item, Subject]):
    """One way to put questions to a tracker. It is sent to the worker processes.

    A dataset is a list of *items*, found by name only. What reading one gives is a *subject*.
    """

    kept_in: ClassVar[str]
    """The folder of the results of each item."""

    @abstractmethod
    def find(self, dataset: Path, names: Iterable[str] | None) -> tuple[Sequence[Item], list[str]]:
        """The items, those named or all, and what is wrong with the dataset's index. Raises DatasetError."""

    def files(self, backend: Backend | None, item: Item) -> list[Path]:
        """All that the item's figures come from; one may be missing."""
        return item.files

    @abstractmethod
    def read(self, item: Item) -> tuple[Subject | None, list[str]]:
        """Reads through an item; the subject is None where it cannot be used. Tells what is wrong with it."""

    @abstractmethod
    def steps(self, subject: Subject) -> int:
        """How often `evaluate` calls `advance`."""

    @abstractmethod
    def evaluate(self, backend: Backend | None, subject: Subject, advance: Callable[[], None]) -> Found:
        """Asks the tracker, and scores its answers. Raises DatasetFileError and VideoError."""

    @abstractmethod
    def report(self, about: Mapping[str, Any], found: Mapping[str, Found]) -> Report:
        """Tells of all that was found, by item."""

    @abstractmethod
    def draw(self, backend: Backend | None, subject: Subject, part: str, found: Found) -> Picture:
        """A picture of one of the worst cases. Raises DatasetFileError and VideoError."""


class _OnVideos(ScoringProtocol[VideoFolders, AnnotatedVideo]):
    """A protocol on the videos of a dataset."""

    kept_in = "videos"
    masks: Path
    """The folder of the masks that are found, one folder a video."""

    def find(self, dataset: Path, names: Iterable[str] | None) -> tuple[Sequence[VideoFolders], list[str]]:
        return find_videos(dataset, names), []


@dataclass(frozen=True)
class SemiSupervised(_OnVideos):
    """The first mask is given (`semi_supervised.py`); without a backend, `masks` are another tracker's."""

    masks: Path

    def files(self, backend: Backend | None, item: VideoFolders) -> list[Path]:
        return item.files if backend else [*item.files, *files_of(self.masks / item.name)]

    def read(self, item: VideoFolders) -> tuple[AnnotatedVideo | None, list[str]]:
        return read_video(item)

    def steps(self, subject: AnnotatedVideo) -> int:
        return len(subject.images) - _first(subject)

    def evaluate(
        self, backend: Backend | None, subject: AnnotatedVideo, advance: Callable[[], None]
    ) -> Found:
        folder = self.masks / subject.name
        if backend:
            predict(backend, subject, folder, advance)
        found = score(subject, subject.masks.at(folder), read_object_scores(folder))
        return {name: asdict(one) for name, one in found.items()}

    def report(self, about: Mapping[str, Any], found: Mapping[str, Found]) -> Report:
        videos = [report.VideoScores(name, _object_frames(one)) for name, one in found.items()]
        total = report.mean_over_objects(videos)
        worst = sorted(videos, key=lambda video: video.mean.jf)[:WORST]
        return Report(
            lambda problems: report.to_json(about, videos, problems),
            lambda problems, pictures: report.to_markdown(about, videos, problems, pictures),
            f"J&F {total.jf:.3f}  J {total.j.mean:.3f}  F {total.f.mean:.3f}",
            [(video.name, video.name, "") for video in worst],
            {},
        )

    def draw(self, backend: Backend | None, subject: AnnotatedVideo, part: str, found: Found) -> Picture:
        return draw_video(subject, subject.masks.at(self.masks / subject.name), _object_frames(found), {})


@dataclass(frozen=True)
class Interactive(_OnVideos):
    """A simulated user clicks (`interactive.py`), on an offline tracker or on a streaming one."""

    masks: Path
    effort: Effort
    online: bool
    lasting_corrections: bool

    def read(self, item: VideoFolders) -> tuple[AnnotatedVideo | None, list[str]]:
        return read_video(item, scored=False)

    def steps(self, subject: AnnotatedVideo) -> int:
        frames = len(subject.images) - _first(subject)
        return frames if self.online else frames * offline_rounds(subject, self.effort)

    def evaluate(
        self, backend: Backend | None, subject: AnnotatedVideo, advance: Callable[[], None]
    ) -> Found:
        assert backend is not None, "only a tracker can be clicked on"
        track = track_online if self.online else track_offline
        masks = ObjectFolders(self.masks / subject.name)
        found = track(backend, subject, self.effort, self.lasting_corrections, masks, advance)
        return {name: asdict(one) for name, one in found.items()}

    def report(self, about: Mapping[str, Any], found: Mapping[str, Found]) -> Report:
        videos = [
            interactive_report.VideoRounds(name, {key: _interaction(value) for key, value in one.items()})
            for name, one in found.items()
        ]
        title = f"Promptable video segmentation, {'online' if self.online else 'offline'}"
        total = interactive_report.rounds(videos)
        worst = sorted(videos, key=lambda video: video.jf)[:WORST]
        chart = "jf_by_frames.png"
        return Report(
            lambda problems: interactive_report.to_json(about, videos, problems),
            lambda problems, pictures: interactive_report.to_markdown(
                title, about, videos, problems, pictures, chart
            ),
            f"J&F {total[0].jf:.3f} with clicks on 1 frame, {total[-1].jf:.3f} on {len(total)}",
            [(video.name, video.name, "") for video in worst],
            {chart: interactive_report.draw_rounds(videos)},
        )

    def draw(self, backend: Backend | None, subject: AnnotatedVideo, part: str, found: Found) -> Picture:
        objects = {name: _interaction(one) for name, one in found.items()}
        last = {name: one.rounds[-1] for name, one in objects.items()}
        clicks = {name: one.clicks for name, one in objects.items()}
        return draw_video(subject, ObjectFolders(self.masks / subject.name), last, clicks)


@dataclass(frozen=True)
class Images(ScoringProtocol[ImageSource, list[AnnotatedImage]]):
    """Single images, with clicks and with a box (`images.py`)."""

    kept_in = "images"

    def find(self, dataset: Path, names: Iterable[str] | None) -> tuple[Sequence[ImageSource], list[str]]:
        return find_images(dataset, names)

    def read(self, item: ImageSource) -> tuple[list[AnnotatedImage] | None, list[str]]:
        images, problems = item.read()
        return images or None, problems

    def steps(self, subject: list[AnnotatedImage]) -> int:
        return len(subject)

    def evaluate(
        self, backend: Backend | None, subject: list[AnnotatedImage], advance: Callable[[], None]
    ) -> Found:
        assert backend is not None, "only a network can be clicked on"
        found = {}
        for one in subject:
            answers = segment_objects(backend, load_image(one.path), one.masks())
            found[one.name] = {name: answer.iou for name, answer in answers}
            advance()
        return found

    def report(self, about: Mapping[str, Any], found: Mapping[str, Found]) -> Report:
        objects = [
            image_report.SegmentedObject(source, image, name, iou)
            for source, images in found.items()
            for image, objects_on_it in images.items()
            for name, iou in objects_on_it.items()
        ]
        means = image_report.mean_iou(objects)
        worst = sorted(objects, key=lambda one: one.mean)[:WORST]
        return Report(
            lambda problems: image_report.to_json(about, objects, problems),
            lambda problems, pictures: image_report.to_markdown(about, objects, problems, pictures),
            "mean IoU: " + ", ".join(f"{prompt} {value:.3f}" for prompt, value in means.items()),
            [(one.title, one.source, one.title) for one in worst],
            {},
        )

    def draw(
        self, backend: Backend | None, subject: list[AnnotatedImage], part: str, found: Found
    ) -> Picture:
        assert backend is not None, "only a network can be clicked on"
        for one in subject:
            for name, mask in one.masks().items():
                if image_report.title(one.name, name) == part:
                    image = load_image(one.path)
                    ((_, answers),) = segment_objects(backend, image, {name: mask})
                    return draw_object(image, part, answers, mask)
        raise LookupError(part)


def _first(video: AnnotatedVideo) -> int:
    """The number of the first frame that shows an object."""
    return video.frames.index(min(frames[0] for frames in video.annotated.values()))


def _object_frames(found: Found) -> dict[str, ObjectFrames]:
    return {name: ObjectFrames(**value) for name, value in found.items()}


def _interaction(value: Mapping[str, Any]) -> Interaction:
    return Interaction(
        [Click(**click) for click in value["clicks"]], [ObjectFrames(**one) for one in value["rounds"]]
    )
