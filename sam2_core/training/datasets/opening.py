"""From the configuration's list of datasets to datasets that clips are drawn from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sam2_core.evaluation.dataset import DatasetError, find_videos, read_names
from sam2_core.evaluation.mask_folders import DatasetFileError
from sam2_core.training.config import DataSource, TrainingConfig
from sam2_core.training.datasets.folders import FolderSource
from sam2_core.training.datasets.images import CocoSource, Sa1bSource, read_coco
from sam2_core.training.datasets.rendered import PoolDataset, RenderedDataset
from sam2_core.training.datasets.sav import KINDS, SavSource
from sam2_core.training.datasets.video import Dataset, Source, Video
from sam2_core.training.pool import find_shards, open_shard
from sam2_core.video import VideoError

UNUSABLE = (DatasetFileError, VideoError)
"""What reading a video raises where it cannot be used."""
_ALLOWED = """\
allowed:
  JPEGImages/ and Annotations/ (DAVIS, MOSE, YouTube-VOS)
  JPEGImages_24fps/ and Annotations_6fps/ (SA-V val and test)
  NAME.mp4 with NAME_manual.json or NAME_auto.json (SA-V train), also in folders below
  NAME.jpg with NAME.json (SA-1B), also in folders below
  a JSON file of COCO's instances, with images: the folder of its images"""


class FileDataset:
    """Videos or images on disk, each as likely as any other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources
        self.still = _is_image(sources[0])

    def draw(self, frames: int, size: int, rng: np.random.Generator) -> Video:
        return open_source(self.sources[int(rng.integers(len(self.sources)))], frames)


@dataclass(frozen=True)
class Datasets:
    """What a run reads."""

    training: list[tuple[float, Dataset]]
    """Each with its share."""
    validation: list[tuple[DataSource, list[Source]]]
    """The videos that are validated on, and none of them trained on; rendered scenes have none."""
    problems: list[str]
    """What cannot be used, as "file: reason"."""


def open_datasets(config: TrainingConfig, quiet: bool = False) -> Datasets:
    """Find, check and part the datasets of a run.

    Raises:
        DatasetError: a folder is no dataset or no pool, or nothing usable is in it.
    """
    training: list[tuple[float, Dataset]] = []
    validation: list[tuple[DataSource, list[Source]]] = []
    problems: list[str] = []
    for entry in config.data:
        if entry.rendered:
            training.append((entry.share, _scenes(entry, config.longest, problems)))
            validation.append((entry, []))
            continue
        found = _find(entry, problems)
        kept, held_out = _part(found, 0 if config.validation else entry.held_out)
        usable = _usable(kept, entry, config.longest, problems, quiet)
        if not usable:
            raise _nothing(entry, problems)
        training.append((entry.share, FileDataset(usable)))
        validation.append((entry, _usable(held_out, entry, 1, problems, quiet)))
    for entry in config.validation:
        found = [] if entry.rendered else _usable(_find(entry, problems), entry, 1, problems, quiet)
        validation.append((entry, found))
    if config.validation:
        validation = validation[len(config.data) :]
    return Datasets(training, validation, problems)


def open_source(source: Source, frames: int) -> Video:
    """A video of at least so many frames, or an image, which serves for clips of one frame only.

    Raises:
        DatasetFileError, VideoError: it is shorter, or cannot be used.
    """
    video = source.open()
    if len(video) < frames and not _is_image(source):
        raise DatasetFileError(Path(source.name), f"has {len(video)} frames; a clip has {frames}")
    return video


def _scenes(entry: DataSource, frames: int, problems: list[str]) -> Dataset:
    """Rendered scenes, new ones or those of a pool; which shards cannot be used is added to ``problems``."""
    if not entry.path:
        return RenderedDataset(entry.rendered)
    folder = Path(entry.path).expanduser()
    found = find_shards(folder, entry.rendered)
    if not found:
        raise DatasetError(f"no clips of family '{entry.rendered}' in {folder}; render them first")
    shards = []
    for path in found:
        try:
            open_shard(path, frames)
            shards.append(path)
        except DatasetFileError as error:
            problems.append(str(error))
    if not shards:
        raise _nothing(entry, problems)
    return PoolDataset(entry.rendered, shards)


def _find(entry: DataSource, problems: list[str]) -> list[Source]:
    """The videos or images of a dataset in order of name; nothing of them is read yet."""
    path = Path(entry.path).expanduser()
    if path.suffix == ".json":
        if not entry.images:
            raise DatasetError(f"{path}: is COCO's, which needs images: the folder of its images")
        coco, faults = read_coco(path, Path(entry.images).expanduser())
        problems += faults
        return list(coco)
    if not path.is_dir():
        raise DatasetError(f"{path}: no such folder")
    if any(path.glob("JPEGImages*")):
        names = read_names(Path(entry.videos).expanduser()) if entry.videos else None
        return [FolderSource(folders) for folders in find_videos(path, names)]
    annotations = _below(path, ".json")
    sav: list[Source] = [SavSource(one) for one in annotations if one.stem.endswith(KINDS)]
    found = sav or [Sa1bSource(one) for one in annotations]
    if not found:
        raise DatasetError(f"{path}: is no dataset; {_ALLOWED}")
    return found


def _below(root: Path, suffix: str) -> list[Path]:
    """The files of a folder and of those below it, linked ones too but each once, in order of name."""
    found: list[Path] = []
    visited = set[str]()
    for folder, folders, files in os.walk(root, followlinks=True):
        folders.sort()  # so that of several ways to the same folder it is always the same one
        if (place := os.path.realpath(folder)) in visited:
            folders.clear()
            continue
        visited.add(place)
        found += [Path(folder, file) for file in files if file.endswith(suffix)]
    return sorted(found)


def _part(found: Sequence[Source], share: float) -> tuple[list[Source], list[Source]]:
    """What is trained on and what is held out: a share of the videos, at least one of two, evenly spaced."""
    videos = list(dict.fromkeys(source.video for source in found))
    count = min(max(round(share * len(videos)), 1), len(videos) - 1) if share else 0
    held_out = {videos[index * len(videos) // count] for index in range(count)}
    return (
        [source for source in found if source.video not in held_out],
        [source for source in found if source.video in held_out],
    )


def _usable(
    sources: Sequence[Source], entry: DataSource, frames: int, problems: list[str], quiet: bool
) -> list[Source]:
    """Those that can be used; why the others cannot is added to ``problems``."""
    if not entry.check or not sources:
        return list(sources)

    def faults(source: Source) -> tuple[bool, list[str]]:
        try:
            open_source(source, frames)
            return True, source.check()
        except UNUSABLE as error:
            return False, str(error).splitlines()

    usable = []
    with ThreadPoolExecutor() as pool:
        progress = tqdm(
            pool.map(faults, sources), f"checking {entry.path}", len(sources), disable=quiet, delay=1
        )
        for source, (good, told) in zip(sources, progress, strict=True):
            problems += told
            if good:
                usable.append(source)
    return usable


def _is_image(source: Source) -> bool:
    return isinstance(source, Sa1bSource | CocoSource)


def _nothing(entry: DataSource, problems: list[str]) -> DatasetError:
    return DatasetError("\n".join([f"{entry.path}: nothing in it can be trained on", *problems]))
