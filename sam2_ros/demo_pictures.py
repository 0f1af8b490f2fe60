"""A recorded run to look at: the video with the masks drawn in, and the contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from sam2_core.contact_sheet import Tile, Timeline, contact_sheet
from sam2_core.drawing import draw_click, draw_overlay
from sam2_core.video import VideoWriter
from sam2_ros.demo_report import Click, Report, Track, tracked_rate, tracks
from sam2_ros.recording import RecordedFrame, RecordedObject

_TILES = 12
_TILE_WIDTH = 400
_CLICK_SHOWN = 700_000_000  # [ns] that a click stays in the video


@dataclass(frozen=True)
class _Scaled:
    """An object at the size that it is drawn at."""

    id: int
    label: str
    mask: np.ndarray
    visible: bool


def write_video(path: Path, frames: Sequence[RecordedFrame], clicks: Sequence[Click]) -> None:
    """The frames with their masks, shown at their own times."""
    with VideoWriter(path, tracked_rate(frames)) as writer:
        for frame in tqdm(frames, desc="overlay.mp4", unit="frame", leave=False):
            if frame.image is not None:
                recent = [click for click in clicks if 0 <= frame.stamp - click.stamp < _CLICK_SHOWN]
                writer.write(_drawn(frame, recent, frame.image.shape[1]), frame.stamp)


def write_overview(
    path: Path, frames: Sequence[RecordedFrame], clicks: Sequence[Click], report: Report
) -> None:
    """The contact sheet, from the first clicked frame on."""
    first = min(click.stamp for click in clicks)
    pictured = [frame for frame in frames if frame.image is not None and frame.stamp >= first]
    spread = np.linspace(0, len(pictured) - 1, min(_TILES, len(pictured)))
    start = pictured[0].stamp
    tiles = []
    for frame in (pictured[round(place)] for place in spread):
        clicked = [click for click in clicks if click.stamp == frame.stamp]
        tiles.append(Tile(_drawn(frame, clicked, _TILE_WIDTH), (frame.stamp - start) * 1e-9))
    lines = [_timeline(track, start) for track in tracks(frames, clicks)]
    title = f"SAM 2 on ROS 2: {len(lines)} objects, one click each"
    speed = f"{report.fps:.1f} frames/s   {report.latency_ms['median']:.0f} ms from image to mask"
    subtitle = f"{report.model} on {report.device}   {report.frames.tracked} frames   {speed}"
    Image.fromarray(contact_sheet(tiles, lines, title, subtitle, tile_width=_TILE_WIDTH)).save(path)


def _drawn(frame: RecordedFrame, clicks: Sequence[Click], width: int) -> np.ndarray:
    """The frame with its objects at a given width [px], drawn after scaling so that all text is legible."""
    assert frame.image is not None
    scale = width / frame.image.shape[1]
    size = (width, round(frame.image.shape[0] * scale))
    canvas = np.asarray(Image.fromarray(frame.image).resize(size, Image.Resampling.LANCZOS))
    canvas = draw_overlay(canvas, [_scaled(item, size) for item in frame.objects])
    for click in clicks:
        draw_click(canvas, click.x * scale, click.y * scale, click.object_id)
    return canvas


def _scaled(item: RecordedObject, size: tuple[int, int]) -> _Scaled:
    mask = Image.fromarray(item.mask).resize(size, Image.Resampling.NEAREST)
    return _Scaled(item.id, item.label, np.asarray(mask), item.visible)


def _timeline(track: Track, start: int) -> Timeline:
    seen = f"seen {100 * track.visible.mean():.0f} %"
    note = f"IoU {np.nanmean(track.iou):.2f}   {seen}" if track.in_view.any() else seen
    times = (track.stamps - start) * 1e-9
    return Timeline(track.id, track.label, times, track.visible, track.iou, track.in_view, note)
