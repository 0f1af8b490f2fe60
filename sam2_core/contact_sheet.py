"""One picture that tells a whole clip: frames over time, and every object's visibility and quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from sam2_core.drawing import Colour, draw_text, object_colour, object_title

_BACKGROUND: Colour = (18, 20, 27)
_GROOVE: Colour = (34, 38, 49)
_FAINT: Colour = (92, 99, 116)
_TEXT: Colour = (232, 235, 242)
_SOFT: Colour = (160, 167, 184)
_MARGIN = 28
_GAP = 10
_HEADER = 84
_ROW = 46  # one timeline with the space below it
_NAME_WIDTH = 200
_NOTE_WIDTH = 190


@dataclass(frozen=True)
class Tile:
    """One frame of the sheet."""

    image: np.ndarray  # uint8 [H, W, 3], all tiles of one sheet alike
    time: float  # [s], or what the sheet's `time_format` says


@dataclass(frozen=True)
class Timeline:
    """One object's row; the arrays have one entry per tracked frame."""

    id: int
    label: str
    times: np.ndarray  # float [T], rising; as the tiles'
    visible: np.ndarray  # bool [T]: the tracker's verdict
    iou: np.ndarray  # float [T], 0 to 1; NaN without ground truth
    in_view: np.ndarray  # bool [T]: the ground truth's verdict; all False without ground truth
    note: str = ""  # shown at the right


def contact_sheet(
    tiles: Sequence[Tile],
    timelines: Sequence[Timeline],
    title: str,
    subtitle: str = "",
    columns: int = 4,
    tile_width: int = 400,
    time_format: str = "{:.1f} s",
) -> np.ndarray:
    """Lays frames out in reading order with their times, and one timeline per object below them.

    A coloured bar stands where the tracker saw the object, as high as its IoU where that is known, dim
    where it saw what was not in view. The light line below marks where the object really was in view. Ticks
    point to the frames shown above.
    Returns uint8 [H, W, 3]. Raises ValueError without a tile.
    """
    if not tiles:
        raise ValueError("a contact sheet needs at least one tile")
    columns = min(columns, len(tiles))
    tile_height = round(tile_width * tiles[0].image.shape[0] / tiles[0].image.shape[1])
    grid_rows = -(-len(tiles) // columns)
    width = max(2 * _MARGIN + columns * (tile_width + _GAP) - _GAP, 960)
    strips_top = _HEADER + grid_rows * (tile_height + _GAP) + 24
    height = strips_top + (len(timelines) * _ROW + 34 if timelines else 0) + _MARGIN // 2
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    draw_text(sheet, (_MARGIN, 20), title, 28, _TEXT)
    draw_text(sheet, (_MARGIN, 55), subtitle, 16, _SOFT)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        left, top = _MARGIN + column * (tile_width + _GAP), _HEADER + row * (tile_height + _GAP)
        picture = Image.fromarray(tile.image).resize((tile_width, tile_height), Image.Resampling.LANCZOS)
        sheet.paste(picture, (left, top))
        _draw_time(sheet, time_format.format(tile.time), left + tile_width, top)
    if timelines:
        _draw_timelines(sheet, timelines, [tile.time for tile in tiles], strips_top, time_format)
    return np.asarray(sheet)


def _draw_time(sheet: Image.Image, text: str, right: int, top: int) -> None:
    ImageDraw.Draw(sheet).rectangle((right - 62, top, right - 1, top + 24), fill=_BACKGROUND)
    draw_text(sheet, (right - 30, top + 12), text, 15, _TEXT, anchor="mm")


def _draw_timelines(
    sheet: Image.Image, timelines: Sequence[Timeline], ticks: Sequence[float], top: int, time_format: str
) -> None:
    draw = ImageDraw.Draw(sheet)
    left, right = _MARGIN + _NAME_WIDTH, sheet.width - _MARGIN - _NOTE_WIDTH
    start = min([ticks[0], *(float(line.times[0]) for line in timelines)])
    end = max([ticks[-1], *(float(line.times[-1]) for line in timelines)])
    scale = (right - left) / max(end - start, 1e-3)
    bottom = top + len(timelines) * _ROW
    for tick in ticks:
        x = left + (tick - start) * scale
        draw.polygon([(x - 5, top - 12), (x + 5, top - 12), (x, top - 4)], fill=_SOFT)
    for index, line in enumerate(timelines):
        _draw_bar(sheet, line, top + index * _ROW, left, right, start, scale)
    draw_text(sheet, (left, bottom + 4), time_format.format(start), 14, _SOFT)
    draw_text(sheet, (right, bottom + 4), time_format.format(end), 14, _SOFT, anchor="ra")
    legend = "bar: seen by the tracker, height: IoU (dim: wrongly); line below: really in view"
    if any(line.in_view.any() for line in timelines):
        draw_text(sheet, ((left + right) / 2, bottom + 4), legend, 14, _FAINT, anchor="ma")


def _draw_bar(
    sheet: Image.Image, line: Timeline, top: int, left: int, right: int, start: float, scale: float
) -> None:
    draw = ImageDraw.Draw(sheet)
    colour = object_colour(line.id)
    base = top + _ROW - 16
    judged = bool(line.in_view.any())
    edges = left + (np.append(line.times, line.times[-1] + _typical_step(line.times)) - start) * scale
    edges = np.minimum(edges, right)
    draw.rectangle((left, top, right, base), fill=_GROOVE)
    for index in range(len(line.times)):
        span = (float(edges[index]), float(edges[index + 1]))
        if line.visible[index]:
            wrong = judged and not line.in_view[index]
            quality = 1.0 if np.isnan(line.iou[index]) else float(line.iou[index])
            bar = (span[0], base - quality * (base - top), span[1], base)
            draw.rectangle(bar, fill=_dimmed(colour) if wrong else colour)
        if line.in_view[index]:
            draw.rectangle((span[0], base + 3, span[1], base + 5), fill=_SOFT)
    middle = (top + base) / 2
    draw.ellipse((_MARGIN, middle - 8, _MARGIN + 16, middle + 8), fill=colour)
    draw_text(sheet, (_MARGIN + 26, middle), object_title(line.id, line.label), 18, _TEXT, anchor="lm")
    draw_text(sheet, (right + 16, middle), line.note, 16, _SOFT, anchor="lm")


def _dimmed(colour: Colour) -> Colour:
    """A third of the colour over the groove."""
    red, green, blue = ((light + 2 * dark) // 3 for light, dark in zip(colour, _GROOVE, strict=True))
    return red, green, blue


def _typical_step(times: np.ndarray) -> float:
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.0
