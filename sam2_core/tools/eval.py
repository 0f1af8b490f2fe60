"""`sam2-eval`: J and F of a tracker on a dataset of videos."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from ..evaluation.dataset import AnnotatedVideo, DatasetError, VideoFolders, find_videos, read_video
from ..evaluation.mask_folders import DatasetFileError
from ..evaluation.report import draw_video, mean_over_objects, summarise_video, to_json, to_markdown
from ..evaluation.semi_supervised import ObjectFrames, predict, score
from ..files import replacing
from ..model import CheckpointError, Sam2Network
from ..video import VideoError
from .network import add_network_options, describe_network, load_given_network
from .program import named, run_program
from .run import RunError, claim

_DESCRIPTION = """\
Scores a tracker as DAVIS 2017 does: each object's first mask is given, the masks on the other frames are
compared with the true ones by region (J) and by boundary (F).

DATASET is recognised from its folders:
  DAVIS 2017           JPEGImages/480p/VIDEO/*.jpg   Annotations/480p/VIDEO/*.png
  MOSE, YouTube-VOS    JPEGImages/VIDEO/*.jpg        Annotations/VIDEO/*.png
  SA-V val and test    JPEGImages_24fps/VIDEO/*.jpg  Annotations_6fps/VIDEO/OBJECT/*.png
"""
_EPILOG = """\
An object is scored on its annotated frames but the first, where its mask is given, and the last.

written to DIR:
  results.json         the figures of the dataset, of each video and of each object
  report.md            the same as tables, with the faults of the dataset
  worst/VIDEO.png      pictures of the videos with the lowest J&F
  predictions/VIDEO/   the masks that were found, laid out as the true ones (not with --predictions)
  videos/VIDEO.json    J and F of every object on every frame

An interrupted run goes on, with the video it was at, when the same command is given again. To share the work,
start one process for each part of the list (--videos) with the same DIR, and one for the whole at the end.
Videos in which a file is missing, unreadable or of another size are named and left out; --strict makes that
an error.

examples:
  sam2-eval DAVIS/ --out davis/ --videos DAVIS/ImageSets/2017/val.txt --checkpoint sam2.1_hiera_large.pt
  sam2-eval sav_val/ --out scores/ --predictions masks_of_another_tracker/
"""
_WORST = 5


class EvaluationError(ValueError):
    """An evaluation that cannot go on or has no result; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status: 0, or another one after an error was told."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.predictions and (given.checkpoint or given.model):
        parser.error("--predictions are scored without a network; leave out --model and --checkpoint")
    return run_program(
        "sam2-eval",
        lambda: _evaluate(given),
        errors=(CheckpointError, DatasetError, EvaluationError, RunError),
        explain=lambda error: f"cannot read or write{named(error)}: {error.strerror}",
        interrupted="the same command goes on from here",
    )


def _evaluate(given: argparse.Namespace) -> None:
    names = given.videos.read_text().split() if given.videos else None
    folders = find_videos(given.dataset, names)
    network = None if given.predictions else load_given_network(given)
    tracker = describe_network(network) if network else str(given.predictions.resolve())
    about = {"dataset": str(given.dataset.resolve()), "tracker": tracker}
    claim(given.out, about, given.restart, given.out.glob("videos/*.json"))

    read = _read([one for one in folders if not _result(given, one.name).exists()])
    faults = [problem for _, problems in read for problem in problems]
    if faults and given.strict:
        raise EvaluationError("--strict does not allow these faults:\n" + "\n".join(faults))
    left_out = [problem for video, problems in read if not video for problem in problems]
    usable = [(video, problems) for video, problems in read if video]
    for video, problems in tqdm(usable, desc="scoring", unit="video", disable=not usable):
        try:
            found = _find(given, video, network)
        except (DatasetFileError, VideoError) as error:
            if given.strict:
                raise EvaluationError(str(error)) from error
            left_out.append(str(error))
            continue
        objects = {name: asdict(one) for name, one in found.items()}
        _write_json(_result(given, video.name), {"objects": objects, "problems": problems})
    _report(given, about, folders, left_out)


def _read(folders: Sequence[VideoFolders]) -> list[tuple[AnnotatedVideo | None, list[str]]]:
    """Every video, as `read_video` gives it: nothing is tracked before all faults are known."""
    return [read_video(one) for one in tqdm(folders, desc="reading masks", unit="video", disable=not folders)]


def _find(
    given: argparse.Namespace, video: AnnotatedVideo, network: Sam2Network | None
) -> dict[str, ObjectFrames]:
    """Tracks the objects of a video where there is a network, and scores what was found."""
    folder = _predictions(given) / video.name
    if network:
        length = len(video.images)
        for _ in tqdm(predict(network, video, folder), video.name, length, unit="frame", leave=False):
            pass
    return score(video, video.masks.at(folder))


def _report(
    given: argparse.Namespace, about: dict[str, str], folders: Sequence[VideoFolders], left_out: list[str]
) -> None:
    """Writes what is told of all videos that have a result."""
    found: dict[str, dict[str, ObjectFrames]] = {}
    problems = list(left_out)
    for one in folders:
        if (path := _result(given, one.name)).exists():
            result = json.loads(path.read_text())
            problems += result["problems"]
            if result["objects"]:
                found[one.name] = {name: ObjectFrames(**value) for name, value in result["objects"].items()}
    if not found:
        raise EvaluationError("\n".join([f"{given.dataset}: there is no object to score", *problems]))

    videos = [summarise_video(name, objects) for name, objects in found.items()]
    worst = sorted(videos, key=lambda video: video.mean.jf)[:_WORST]
    by_name = {one.name: one for one in folders}
    pictures = {}
    for name in (one.name for one in worst):
        try:
            pictures[name] = _draw(given, by_name[name], found[name])
        except (DatasetFileError, VideoError) as error:
            problems.append(f"{error}; so there is no picture of {name}")
    _write_json(given.out / "results.json", to_json(about, videos, problems))
    table = to_markdown(about, videos, problems, pictures)
    with replacing(given.out / "report.md") as temporary:
        temporary.write_text(table)
    for problem in problems:
        print(f"sam2-eval: {problem}", file=sys.stderr)
    total = mean_over_objects(videos)
    print(f"J&F {total.jf:.3f}  J {total.j.mean:.3f}  F {total.f.mean:.3f}  {given.out / 'report.md'}")


def _draw(given: argparse.Namespace, folders: VideoFolders, found: dict[str, ObjectFrames]) -> str:
    """Draws a video; returns the picture's path relative to the report.

    Raises:
        DatasetFileError, VideoError: a file is unreadable or gone, which need not matter to the scores.
    """
    video, problems = read_video(folders)
    if not video:
        raise VideoError(problems[0])
    picture = draw_video(video, video.masks.at(_predictions(given) / video.name), found)
    path = given.out / "worst" / f"{video.name}.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(picture).save(path)
    return f"worst/{path.name}"


def _result(given: argparse.Namespace, video: str) -> Path:
    """Where the scores of a video are kept; there once it is done."""
    return Path(given.out) / "videos" / f"{video}.json"


def _predictions(given: argparse.Namespace) -> Path:
    return Path(given.predictions or given.out / "predictions")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{path}: no such folder")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sam2-eval",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", type=_folder, metavar="DATASET", help="folder of the dataset")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the results go")
    parser.add_argument("--videos", type=Path, metavar="FILE", help="names of the videos, one a line (all)")
    parser.add_argument(
        "--predictions", type=_folder, metavar="FOLDER", help="score these masks instead of tracking"
    )
    parser.add_argument("--strict", action="store_true", help="stop at the first fault of the dataset")
    parser.add_argument("--restart", action="store_true", help="forget the run that is in DIR")
    add_network_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
