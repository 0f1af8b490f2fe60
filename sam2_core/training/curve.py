"""Draws a run's course: ``python -m sam2_core.training.curve --run DIR --to FILE.png``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam2_core.chart import Line, draw_chart

COLOURS = {
    "dice": (31, 120, 180),
    "image_iou": (44, 160, 44),
    "track_iou": (214, 39, 40),
    "visibility": (148, 103, 189),
}


def read_metrics(path: Path) -> dict[str, list[tuple[float, float]]]:
    """(step, value) of every quantity that is drawn; where a run was resumed, the later values count."""
    values: dict[str, dict[float, float]] = {name: {} for name in COLOURS}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        for name in COLOURS.keys() & entry.keys():
            values[name][entry["step"]] = entry[name]
    return {name: sorted(points.items()) for name, points in values.items() if points}


def draw(series: dict[str, list[tuple[float, float]]]) -> NDArray[np.uint8]:
    """A chart, uint8 [H, W, 3] RGB."""
    last = max(points[-1][0] for points in series.values())
    lines = [Line(name, points, COLOURS[name]) for name, points in series.items()]
    return draw_chart(lines, "steps", [last * quarter / 4 for quarter in range(5)])


def main() -> None:
    """Draw the losses and validation scores of a training run."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--to", type=Path, required=True, help="picture to write, .png")
    options = parser.parse_args()
    options.to.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw(read_metrics(options.run / "metrics.jsonl"))).save(options.to)


if __name__ == "__main__":
    main()
