"""`sam2-eval`: the scores of a tracker on a dataset, by the protocols of the field."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..backends import LoadedBackend
from ..evaluation.dataset import DatasetError, read_names
from ..evaluation.evaluation import AnyProtocol, Evaluation, EvaluationError
from ..evaluation.interactive import Effort
from ..evaluation.protocols import Images, Interactive, SemiSupervised
from ..evaluation.workers import WorkerError, Workers
from ..model import CheckpointError
from .network import (
    add_backend_options,
    add_correction_option,
    add_network_options,
    describe_network,
    load_given_backend,
)
from .program import named, run_program
from .run import RunError, claim

_DESCRIPTION = """\
Scores a tracker on a dataset, as the field does it. What is done is said by --protocol:

  vos      semi-supervised: each object's first mask is given, the others are to be found. J, F and J&F as
           DAVIS 2017 defines them; whether hidden objects are called hidden, and how soon those that come
           back are found again
  offline  a simulated user clicks on the frame with the worst mask, the video is gone through again, and so
           on: J&F against the number of frames with clicks
  online   the same on a stream: where the IoU falls below 0.75, the user pauses and clicks, and what came
           before stays as it was
  images   every annotated image by itself: mean IoU after 1, 3 and 5 clicks, and from a box

DATASET is recognised from its folders. Videos, for every protocol:
  DAVIS 2017           JPEGImages/480p/VIDEO/*.jpg   Annotations/480p/VIDEO/*.png
  MOSE, YouTube-VOS    JPEGImages/VIDEO/*.jpg        Annotations/VIDEO/*.png
  SA-V val and test    JPEGImages_24fps/VIDEO/*.jpg  Annotations_6fps/VIDEO/OBJECT/*.png
In SA-V's masks any value but 0 is the object; in the others a value is an object's number, 1 to 254, and 255
is no object. Folders whose name begins with . or @ are not looked at.
Images, for --protocol images:
  COCO                 SPLIT/*.jpg                   annotations/instances_SPLIT.json (or this as DATASET)
  SA-1B                *.jpg                         *.json of the same name
"""
_EPILOG = """\
vos scores an object on its annotated frames but the first, where its mask is given, and the last, as the
public code of DAVIS 2017 does; in folders of SA-V, as SA-V's does, J and F count from the first frame
between on which the true or the found mask shows it. offline and online score an object on all of its
annotated frames.

written to DIR:
  results.json         the figures of the dataset, of each video and of each object
  report.md            the same as tables, with the faults of the dataset
  worst/*.png          pictures of the worst videos or objects
  jf_by_frames.png     J&F against the number of frames with clicks (offline, online)
  predictions/VIDEO/   the masks that were found: laid out as the true ones (vos), one folder an object
                       (offline, online: those of the last round, on the annotated frames)
  videos/, images/     what was found on every frame or image, one file for each video or image

An interrupted run goes on, with the videos it was at, when the same command is given again; what is done is
done again only where its files have changed. With the same backend and --threads the figures are the same
for any --workers; with others they differ in the last digits, since sums round in another order.

Videos and images with a missing or unreadable file, or with masks of another size, are named and left out,
and the results say how many these are; --strict makes that an error. So it always is where a file of
--predictions is missing or unreadable: without the videos that a tracker lost its score would be higher.

examples:
  sam2-eval DAVIS/ --out davis/ --videos DAVIS/ImageSets/2017/val.txt --checkpoint sam2.1_hiera_large.pt
  sam2-eval sav_val/ --out scores/ --predictions masks_of_another_tracker/
  sam2-eval MOSE/ --protocol offline --out clicks/ --workers 4
  sam2-eval MOSE/ --out scores/ --backend onnxruntime
  sam2-eval coco/ --protocol images --out coco_scores/
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status: 0, or another one after an error was told."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.predictions and (given.checkpoint or given.model):
        parser.error("--predictions are scored without a network; leave out --model and --checkpoint")
    if given.predictions and given.protocol != "vos":
        parser.error(
            f"masks cannot answer to clicks; allowed: --predictions without --protocol {given.protocol}"
        )
    return run_program(
        "sam2-eval",
        lambda: _evaluate(given),
        errors=(CheckpointError, DatasetError, EvaluationError, RunError, WorkerError),
        explain=lambda error: f"cannot read or write{named(error)}: {error.strerror}",
        interrupted="the same command goes on from here",
    )


def _evaluate(given: argparse.Namespace) -> None:
    names = read_names(given.videos) if given.videos else None
    protocol = _protocol(given)
    items, faults = protocol.find(given.dataset, names)
    threads = given.threads or max(1, torch.get_num_threads() // given.workers)
    with Workers(given.workers, threads, partial(_load, given)) as workers:
        about = _identity(given, workers.loaded)
        claim(given.out, about, given.restart, given.out.glob(f"{protocol.kept_in}/*.json"))
        summary, problems = Evaluation(protocol, workers, given.out, given.strict).run(items, faults, about)
    for problem in problems:
        print(f"sam2-eval: {problem}", file=sys.stderr)
    print(summary)


def _protocol(given: argparse.Namespace) -> AnyProtocol:
    masks = Path(given.predictions or given.out / "predictions")
    if given.protocol == "vos":
        return SemiSupervised(masks)
    if given.protocol == "images":
        return Images()
    effort = Effort(given.frames, given.clicks)
    return Interactive(masks, effort, given.protocol == "online", given.lasting_corrections)


def _load(given: argparse.Namespace) -> LoadedBackend | None:
    """What runs the network; the workers need not repeat what this process says of it."""
    is_worker = multiprocessing.parent_process() is not None
    return None if given.predictions else load_given_backend(given, quiet=is_worker)


def _identity(given: argparse.Namespace, loaded: LoadedBackend | None) -> dict[str, Any]:
    """What makes a run what it is."""
    about = {"protocol": given.protocol, "dataset": str(given.dataset.resolve())}
    if loaded:
        about |= {"tracker": describe_network(loaded.network), "backend": loaded.name}
    else:
        about |= {"tracker": str(given.predictions.resolve())}
    if given.protocol in ("offline", "online"):
        about |= {
            "frames with clicks": given.frames,
            "clicks on a frame": given.clicks,
            "lasting corrections": given.lasting_corrections,
        }
    return about


def _existing(is_allowed: Callable[[Path], bool], what: str, text: str) -> Path:
    path = Path(text)
    if not is_allowed(path):
        raise argparse.ArgumentTypeError(f"{path}: no such {what}")
    return path


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not allowed; allowed: 1 or more")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sam2-eval",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "dataset",
        type=partial(_existing, Path.exists, "folder or file"),
        metavar="DATASET",
        help="folder of the dataset, or COCO's file",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the results go")
    parser.add_argument(
        "--protocol",
        choices=("vos", "offline", "online", "images"),
        default="vos",
        help="what is done, see above (default: %(default)s)",
    )
    parser.add_argument(
        "--videos", type=Path, metavar="FILE", help="names of the videos or images, one a line (default: all)"
    )
    parser.add_argument(
        "--predictions",
        type=partial(_existing, Path.is_dir, "folder"),
        metavar="FOLDER",
        help="score these masks instead of tracking (vos)",
    )
    clicking = Effort()
    parser.add_argument(
        "--frames",
        type=_count,
        default=clicking.frames,
        metavar="N",
        help="frames with clicks for each object at most (offline, online; default: %(default)s)",
    )
    parser.add_argument(
        "--clicks",
        type=_count,
        default=clicking.clicks,
        metavar="N",
        help="clicks on each of them (offline, online; default: %(default)s)",
    )
    add_correction_option(parser)
    parser.add_argument("--strict", action="store_true", help="any fault of the dataset is an error")
    parser.add_argument("--restart", action="store_true", help="forget the run that is in DIR")
    parallel = parser.add_argument_group("speed")
    parallel.add_argument(
        "--workers",
        type=_count,
        default=1,
        metavar="N",
        help="processes that work side by side, each with its own network (default: %(default)s)",
    )
    parallel.add_argument(
        "--threads",
        type=_count,
        metavar="N",
        help="CPU threads of each of them (default: PyTorch's, divided by the workers)",
    )
    add_network_options(parser)
    add_backend_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
