"""Videos in folders as DAVIS, MOSE, YouTube-VOS and SA-V's validation set have them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sam2_core.evaluation.dataset import AnnotatedVideo, VideoFolders, read_video
from sam2_core.training.datasets.video import BoolMask
from sam2_core.video import VideoError


class FolderSource:
    """A folder of frames and a folder of masks. The masks are read through once, and only what they tell is
    kept."""

    def __init__(self, folders: VideoFolders) -> None:
        self.name = folders.name
        self.video = folders.images
        self._folders = folders

    @cached_property
    def _read(self) -> tuple[AnnotatedVideo | None, list[str]]:
        return read_video(self._folders, scored=False)

    def open(self) -> FolderVideo:
        video, problems = self._read
        if video is None:
            raise VideoError("\n".join(problems))
        return FolderVideo(video)

    def check(self) -> list[str]:
        self.open()
        return self._read[1]


class FolderVideo:
    """One such video."""

    def __init__(self, video: AnnotatedVideo) -> None:
        self.name = video.name
        self._video = video
        self._stems = video.frames
        self._known = {name: frozenset(frames) for name, frames in video.annotated.items()}
        annotated = frozenset[str]().union(*self._known.values())
        self.annotated = [index for index, stem in enumerate(self._stems) if stem in annotated]

    def __len__(self) -> int:
        return len(self._stems)

    def image(self, frame: int) -> NDArray[np.uint8]:
        return self._video.images.image(frame)

    def seen(self, frame: int) -> list[str]:
        return self._video.masks.visible(self._stems[frame], self._video.size)

    def masks(self, frame: int, objects: Iterable[str]) -> dict[str, BoolMask]:
        stem = self._stems[frame]
        known = [name for name in objects if stem in self._known[name]]
        return self._video.masks.read(stem, known, self._video.size) if known else {}
