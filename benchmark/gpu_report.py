"""What `gpu.py` found, as a table and as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measuring import STAGES, Spread

COLOURS = {
    "ours, torch, stream": (40, 39, 214),
    "ours, torch, clip": (150, 152, 255),
    "ours, onnxruntime, stream": (14, 127, 255),
    "ours, onnxruntime, clip": (120, 187, 255),
    "ours, tensorrt, stream": (75, 86, 140),
    "ours, tensorrt, clip": (148, 156, 196),
    "official": (180, 120, 31),
    "official, compiled": (189, 103, 148),
    "transformers": (44, 160, 44),
}
"""BGR."""
WIDTH, HEIGHT, MARGIN = 560, 380, 60


@dataclass(frozen=True)
class Row:
    """One program with one model and so many objects."""

    model: str
    image_size: int
    objects: int
    program: str
    frame: Spread | None = None
    """From the image to the masks on the host."""
    frames_per_second: float = 0.0
    executor: str = ""
    """Of ours: what it is, with version and precision."""
    stages: dict[str, Spread] = field(default_factory=dict)
    """Ours on a stream only, like all that follows but the last two."""
    gflop: float = 0.0
    gbyte: float = 0.0
    """Of a frame at least."""
    share: float = 0.0
    """The frame's products per second, as a part of the device's measured rate."""
    bound: float = 0.0
    """The least time, each stage at the product or the copy rate, as a part of the frame's."""
    device_mb: float | None = None
    """The most that it took of a GPU's memory."""
    failed: str = ""
    """Why it could not be measured."""

    def replaced(self, **fields: Any) -> Row:
        """The same with other fields."""
        return replace(self, **fields)


def table(rows: Sequence[Row], result: Mapping[str, Any]) -> str:
    """Markdown: times in milliseconds, p95 in brackets."""
    heads = ["model", "px", "objects", "program", "frame", "frames/s", *STAGES]
    heads += ["GFLOP", "GB", "share of products", "share of roofline", "device [MB]"]
    lines = [
        f"{result['device']}, torch {result['torch']}: {result['product_tflops']} TFLOP/s in products, "
        f"{result['copy_gbyte_per_s']} GB/s in copies, as measured.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
    ]
    for row in rows:
        cells = [row.model, str(row.image_size), str(row.objects), row.program]
        if row.frame is None:
            cells += [f"failed: {row.failed}", *[""] * (len(heads) - 5)]
        else:
            cells += [_spread(row.frame), f"{row.frames_per_second:.2f}"]
            cells += [_spread(row.stages[stage]) if row.stages else "" for stage in STAGES]
            counted = [f"{row.gflop:.1f}", f"{row.gbyte:.3f}", f"{row.share:.1%}", f"{row.bound:.1%}"]
            cells += counted if row.stages else [""] * 4
            cells.append("" if row.device_mb is None else f"{row.device_mb:.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    for model, found in result["growth"].items():
        lines.append(
            f"- {model} in {found['executor']}, {found['objects']} objects, {found['frames']} frames: memory "
            f"grew by {found['growth_bytes']} of {found['bytes']} bytes, "
            f"{found['device_allocations']} allocations on the device"
        )
    executors = dict.fromkeys(f"{row.model}, {row.program}: {row.executor}" for row in rows if row.executor)
    lines += [f"- {line}" for line in executors if "stream" in line]
    for model, found in result["node"].items():
        lines.append(f"- {model} through the node: " + ", ".join(f"{k} {v}" for k, v in found.items()))
    return "\n".join([*lines, ""])


def _spread(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.p95:.2f})"


def chart(rows: Sequence[Row], path: Path) -> None:
    """Frames per second over the number of objects, both logarithmic, a panel for each model."""
    models = list(dict.fromkeys(row.model for row in rows))
    panels = [_panel(model, [row for row in rows if row.model == model and row.frame]) for model in models]
    cv2.imwrite(str(path), np.hstack(panels))


def _panel(model: str, rows: Sequence[Row]) -> np.ndarray:
    panel = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    _write(panel, f"{model}: frames/s by objects", (MARGIN, 24))
    if not rows:
        return panel
    objects = sorted({row.objects for row in rows})
    rates = [row.frames_per_second for row in rows]
    low, high = np.floor(np.log2(min(rates))), np.ceil(np.log2(max(rates)) + 1e-9)

    def place(count: int, rate: float) -> tuple[int, int]:
        across = np.log2(count / objects[0]) / max(np.log2(objects[-1] / objects[0]), 1e-9)
        up = (np.log2(rate) - low) / max(high - low, 1)
        x, y = MARGIN + across * (WIDTH - 2 * MARGIN), HEIGHT - MARGIN - up * (HEIGHT - 2 * MARGIN)
        return round(x), round(y)

    for power in np.arange(low, high + 1):
        _, y = place(objects[0], 2.0**power)
        cv2.line(panel, (MARGIN, y), (WIDTH - MARGIN, y), (225, 225, 225), 1)
        _write(panel, f"{2.0**power:g}", (6, y + 5))
    for count in objects:
        _write(panel, str(count), (place(count, 2.0**low)[0] - 4, HEIGHT - MARGIN + 20))
    for index, (program, colour) in enumerate(COLOURS.items()):
        points = [place(row.objects, row.frames_per_second) for row in rows if row.program == program]
        if points:
            cv2.polylines(panel, [np.array(points, np.int32)], False, colour, 2, cv2.LINE_AA)
            for point in points:
                cv2.circle(panel, point, 4, colour, -1, cv2.LINE_AA)
            _write(panel, program, (MARGIN + 8, 50 + 18 * index), colour)
    return panel


def _write(
    panel: np.ndarray, text: str, corner: tuple[int, int], colour: tuple[int, int, int] = (60, 60, 60)
) -> None:
    cv2.putText(panel, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
