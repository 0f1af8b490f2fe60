"""`sam2-image`: masks of one image from the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..automatic import AutomaticMaskGenerator, AutomaticOptions
from ..drawing import draw_overlay
from ..files import replacing
from ..image_files import read_rgb
from ..masks import encode_rle, tight_box
from ..model import CheckpointError, ImageNetwork, load_image_network
from ..tracking import ImageSegmenter, PointPrompt, TrackingError
from .network import add_network_options
from .program import run_program

_DESCRIPTION = """\
Segments one image with SAM 2: the objects that you point at, or everything (--automatic).

Coordinates are pixels of the image, x to the right and y down, from its top left corner.
"""
_EXAMPLES = """\
examples:
  the object at pixel (320, 240), without the part at (350, 200):
      sam2-image cup.jpg --points 320,240 350,200,0 --out masks
  two objects, one by a point and one by a box:
      sam2-image desk.jpg --points 320,240 --box 40,60,180,220 --out masks
  everything on the image:
      sam2-image desk.jpg --automatic --out masks

written to DIR:
  mask_001.png, ...   one picture per mask, 255 on the object and 0 elsewhere
  masks.json          for each mask its file, box, area, quality, and COCO run-length code
  overlay.png         the image with all masks drawn in
"""


class _UsageError(ValueError):
    """Something that was given cannot be used; the message names it and what is allowed."""


@dataclass(frozen=True, eq=False)
class _Found:
    """A mask with what masks.json tells about it; can be drawn."""

    id: int
    label: str
    mask: NDArray[np.bool_]
    facts: dict[str, Any]
    visible: bool = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status: 0, or another one after an error was told."""
    given = _parser().parse_args(arguments)
    return run_program(
        "sam2-image",
        lambda: _segment(given),
        errors=(CheckpointError, TrackingError, ValueError, RuntimeError),
        explain=lambda error: (
            f"cannot read or write {error.filename or given.out}: {error.strerror}. "
            f"The pictures that are in {given.out} are whole"
        ),
        interrupted="masks.json and overlay.png are written last; pictures that are there are whole",
    )


def _segment(given: argparse.Namespace) -> None:
    _check(given)
    image = read_rgb(given.image)
    options = AutomaticOptions(
        points_per_side=given.points_per_side,
        predicted_iou=given.predicted_iou,
        stability=given.stability,
        min_area=given.min_area,
        crop_layers=given.crop_layers,
    )
    prompts = _prompts(given)
    network = load_image_network(
        given.model, given.checkpoint, given.image_size, given.precision, given.device
    )
    reason = ""
    if given.automatic:
        generator = AutomaticMaskGenerator(network, options)
        found = _everything(generator, image)
        reason = "" if found else f": {generator.tally.explain(options)}"
    else:
        found = _prompted(network, image, prompts, given.candidates)
    _write(given.out, given.image, image, found)
    print(f"{len(found)} masks in {given.out}{reason}")


def _check(given: argparse.Namespace) -> None:
    prompted = bool(given.points or given.box)
    if given.automatic == prompted:
        wrong = "--automatic takes no prompts" if prompted else "nothing to do"
        raise _UsageError(f"{wrong}; allowed: --points and --box, or --automatic")
    if given.out.exists() and (not given.out.is_dir() or any(given.out.iterdir())):
        raise _UsageError(f"--out {given.out} is not empty; allowed: a new or an empty folder")


def _prompts(given: argparse.Namespace) -> list[PointPrompt]:
    points = [
        ([point[:2] for point in one], [int(point[2]) if len(point) == 3 else 1 for point in one])
        for one in given.points
    ]
    if not given.together:
        by_points = [PointPrompt(where, labels) for where, labels in points]
        return by_points + [PointPrompt(box=box) for box in given.box]
    if len(points) != 1 or len(given.box) != 1:
        raise _UsageError(
            f"--together with {len(points)} --points and {len(given.box)} --box; allowed: one of each"
        )
    return [PointPrompt(*points[0], box=given.box[0])]


def _prompted(
    network: ImageNetwork, image: NDArray[np.uint8], prompts: list[PointPrompt], candidates: bool
) -> list[_Found]:
    segmenter = ImageSegmenter(network)
    segmenter.set_image(image)
    found = []
    for number, result in enumerate(segmenter.predict_batch(prompts, multimask=candidates), start=1):
        for rank, (mask, iou) in enumerate(zip(result.masks, result.iou, strict=True), start=1):
            facts: dict[str, Any] = {"object": number}
            if candidates:
                facts["candidate"] = rank
            facts |= {"predicted_iou": float(iou), "object_score": result.score}
            label = f"#{rank}" if candidates else ""
            found.append(_Found(number, label, mask, facts))
    return found


def _everything(generator: AutomaticMaskGenerator, image: NDArray[np.uint8]) -> list[_Found]:
    found = []
    for number, one in enumerate(generator.generate(image, progress=True), start=1):
        facts = {
            "object": number,
            "predicted_iou": one.predicted_iou,
            "stability_score": one.stability,
            "point": list(one.point),
        }
        found.append(_Found(number, "", one.mask, facts))
    return found


def _write(folder: Path, source: Path, image: NDArray[np.uint8], found: Sequence[_Found]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    height, width = image.shape[:2]
    annotations = []
    for number, one in enumerate(found, start=1):
        name = f"mask_{number:03d}.png"
        _write_png(folder / name, one.mask.astype(np.uint8) * 255)
        x0, y0, x1, y1 = tight_box(one.mask) or (0, 0, 0, 0)
        annotations.append(
            {
                "file": name,
                **one.facts,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": int(one.mask.sum()),
                "segmentation": {"size": [height, width], "counts": encode_rle(one.mask)},
            }
        )
    # Large masks first, so that the small ones on them stay visible.
    drawn = sorted(found, key=lambda one: -one.mask.sum())
    overlay = draw_overlay(image, drawn)
    _write_png(folder / "overlay.png", np.asarray(cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR), np.uint8))
    about = {"file_name": source.name, "width": width, "height": height}
    text = json.dumps({"image": about, "annotations": annotations}, indent=1) + "\n"
    with replacing(folder / "masks.json") as temporary:
        temporary.write_text(text)


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def _point(text: str) -> list[float]:
    values = _numbers(text)
    if len(values) not in (2, 3) or (len(values) == 3 and values[2] not in (0, 1)):
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: X,Y on the object or X,Y,0 beside it")
    return values


def _box(text: str) -> list[float]:
    values = _numbers(text)
    if len(values) != 4:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: X0,Y0,X1,Y1")
    return values


def _numbers(text: str) -> list[float]:
    try:
        return [float(value) for value in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: numbers with commas between them") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sam2-image",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="the image file")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new or empty folder")

    what = parser.add_argument_group("what to segment")
    what.add_argument(
        "--points",
        type=_point,
        nargs="+",
        action="append",
        default=[],
        metavar="X,Y",
        help="points on one object; X,Y,0 is a point that is not on it; repeat --points for more objects",
    )
    what.add_argument(
        "--box",
        type=_box,
        action="append",
        default=[],
        metavar="X0,Y0,X1,Y1",
        help="box around one object, top left and bottom right corner; repeat --box for more objects",
    )
    what.add_argument(
        "--together", action="store_true", help="--points and --box, one of each, mean the same object"
    )
    what.add_argument(
        "--candidates", action="store_true", help="write three candidates per object, best first"
    )
    what.add_argument("--automatic", action="store_true", help="find everything, with a grid of points")

    grid = parser.add_argument_group("with --automatic")
    default = AutomaticOptions()
    grid.add_argument(
        "--points-per-side",
        type=int,
        default=default.points_per_side,
        metavar="N",
        help="N x N points; more find smaller things and take longer (default: %(default)s)",
    )
    grid.add_argument(
        "--predicted-iou",
        type=float,
        default=default.predicted_iou,
        metavar="Q",
        help="least quality that the model itself predicts, 0 to 1 (default: %(default)s)",
    )
    grid.add_argument(
        "--stability",
        type=float,
        default=default.stability,
        metavar="Q",
        help="least stability of a mask's outline, 0 to 1 (default: %(default)s)",
    )
    grid.add_argument(
        "--min-area", type=int, default=0, metavar="PIXELS", help="drop smaller masks (default: keep all)"
    )
    grid.add_argument(
        "--crop-layers",
        type=int,
        default=0,
        metavar="N",
        help="search again in enlarged parts of the image, for small things (default: %(default)s)",
    )

    add_network_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
