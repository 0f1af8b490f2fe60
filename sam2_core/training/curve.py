"""Draws a run's course: ``python -m sam2_core.training.curve --run DIR --to FILE.png``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, MARGIN = 960, 420, 56
COLOURS = {  # BGR
    "dice": (180, 120, 31),
    "image_iou": (44, 160, 44),
    "track_iou": (40, 39, 214),
    "visibility": (189, 103, 148),
}
TOP = 1.0  # every quantity is drawn from 0 to this


def read_metrics(path: Path) -> dict[str, list[tuple[float, float]]]:
    """(step, value) of every quantity that is drawn; where a run was resumed, the later values count."""
    values: dict[str, dict[float, float]] = {name: {} for name in COLOURS}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        for name in COLOURS.keys() & entry.keys():
            values[name][entry["step"]] = entry[name]
    return {name: sorted(points.items()) for name, points in values.items() if points}


def draw(series: dict[str, list[tuple[float, float]]]) -> NDArray[np.uint8]:
    """A chart, uint8 [HEIGHT, WIDTH, 3] BGR."""
    chart = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    last = max(points[-1][0] for points in series.values())
    across, down = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    for tenth in range(0, 11, 2):
        y = MARGIN + down - round(down * tenth / 10)
        cv2.line(chart, (MARGIN, y), (MARGIN + across, y), (225, 225, 225), 1)
        _write(chart, f"{tenth / 10 * TOP:.1f}", (12, y + 5))
    for quarter in range(5):
        x = MARGIN + across * quarter // 4
        _write(chart, f"{last * quarter / 4:.0f}", (x - 15, HEIGHT - MARGIN + 22))
    _write(chart, "steps", (WIDTH // 2 - 20, HEIGHT - 10))
    for index, (name, points) in enumerate(series.items()):
        pixels = [
            (MARGIN + across * step / last, MARGIN + down * (1 - min(v, TOP) / TOP)) for step, v in points
        ]
        cv2.polylines(
            chart, [np.array(pixels).round().astype(np.int32)], False, COLOURS[name], 2, cv2.LINE_AA
        )
        _write(chart, name, (MARGIN + 150 * index, 30), COLOURS[name])
    return chart


def _write(
    chart: NDArray[np.uint8], text: str, corner: tuple[int, int], colour: tuple[int, int, int] = (60, 60, 60)
) -> None:
    cv2.putText(chart, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)


def main() -> None:
    """Draw the losses and validation scores of a training run."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--to", type=Path, required=True, help="picture to write, .png")
    options = parser.parse_args()
    options.to.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(options.to), draw(read_metrics(options.run / "metrics.jsonl")))


if __name__ == "__main__":
    main()
