"""What a recorded run comes to in figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sam2_core.drawing import object_title
from sam2_ros.recording import RecordedFrame, RecordedObject, Recording, frames_dropped, frames_waiting

_STAGES = ("published", "received", "tracked")
IN_VIEW_AREA = 20  # pixels of the ground truth from which on an object counts as in view


@dataclass(frozen=True)
class Click:
    """One point prompt that the client sent, and what the tracker made of it."""

    object_id: int
    label: str
    stamp: int  # of the prompted frame [ns]
    x: float  # [px]
    y: float  # [px]
    truth: int  # the object's value in the ground-truth labels; 0 without ground truth


@dataclass(frozen=True)
class Counts:
    """Where the frames went."""

    published: int  # by the camera
    received: int  # by the tracker
    tracked: int  # by the tracker, with or without objects
    dropped: dict[str, int]  # by reason; published = tracked + all of these
    in_video: int  # tracked frames whose image the recorder received, too


@dataclass(frozen=True)
class ObjectReport:
    """How one object fared, from its prompt on."""

    id: int
    label: str
    frames: int  # tracked frames since its prompt
    frames_visible: int  # of these, seen by the tracker
    mean_iou: float | None  # over the frames where it is in view; None without ground truth
    visibility_right: float | None  # share of the frames where visible == in view; None without ground truth


@dataclass(frozen=True)
class Report:
    """report.json"""

    camera: str  # what was filmed
    model: str
    device: str  # that the network ran on
    frames: Counts
    fps: float  # tracked frames per second
    latency_ms: dict[str, float]  # image stamp to arrival of the masks: median, p95
    network_ms: float  # median time of a frame in the network and tracker
    own_ms: float  # median time of a frame in everything else that the node does with it
    objects: list[ObjectReport]
    mean_iou: float | None  # of the objects' means; None without ground truth
    memory_mb: dict[str, float]  # resident memory of the tracker node: after_quarter, end

    def save(self, path: Path) -> None:
        """Writes it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def table(self) -> str:
        """The figures for people; the last line is the summary."""
        counts, memory, time = self.frames, self.memory_mb, self.latency_ms
        reasons = [f"{count} {reason}" for reason, count in counts.dropped.items() if count]
        lines = [
            f"camera     {self.camera}",
            f"model      {self.model} on {self.device}",
            f"frames     {counts.published} published, {counts.received} received, {counts.tracked} tracked",
            f"dropped    {', '.join(reasons) or 'none'}",
            f"latency    {time['median']:.0f} ms median, {time['p95']:.0f} ms p95, from image stamp to masks",
            f"node       {self.network_ms:.1f} ms network, {self.own_ms:.1f} ms own work a frame",
            f"memory     {memory['after_quarter']:.0f} MB after a quarter, {memory['end']:.0f} MB at the end",
            "",
            f"{'object':<20}{'frames':>8}{'visible':>9}{'mean IoU':>10}{'visibility right':>18}",
        ]
        for item in self.objects:
            right = "n/a" if item.visibility_right is None else f"{100 * item.visibility_right:.0f} %"
            lines.append(
                f"{object_title(item.id, item.label):<20}{item.frames:>8}{item.frames_visible:>9}"
                f"{_two_digits(item.mean_iou):>10}{right:>18}"
            )
        lines += ["", self.summary()]
        return "\n".join(lines)

    def summary(self) -> str:
        """The demo's last line."""
        return (
            f"demo: {len(self.objects)} objects, {self.frames.tracked} frames, "
            f"mean IoU {_two_digits(self.mean_iou)}, {self.fps:.1f} fps"
        )


@dataclass(frozen=True)
class Track:
    """One object over the tracked frames from its prompt on; arrays of one entry per frame."""

    id: int
    label: str
    stamps: np.ndarray  # int64 [T], of the images [ns]
    visible: np.ndarray  # bool [T]: the tracker's verdict
    judged: np.ndarray  # bool [T]: there is ground truth
    in_view: np.ndarray  # bool [T]: the ground truth's verdict, False where there is none
    iou: np.ndarray  # float [T]; NaN where it is not in view

    def report(self) -> ObjectReport:
        """The track in figures."""
        right = (self.visible == self.in_view)[self.judged]
        return ObjectReport(
            id=self.id,
            label=self.label,
            frames=len(self.stamps),
            frames_visible=int(self.visible.sum()),
            mean_iou=round(float(np.nanmean(self.iou)), 4) if self.in_view.any() else None,
            visibility_right=round(float(right.mean()), 4) if right.size else None,
        )


def make_report(
    camera: str, recording: Recording, clicks: Sequence[Click], memory_mb: Sequence[float]
) -> Report:
    """All figures of a run; memory_mb: of the tracker, in equal steps from its first to its last frame."""
    frames = [frame for frame in recording.frames if frame.objects]
    objects = [track.report() for track in tracks(frames, clicks)]
    ious = [item.mean_iou for item in objects if item.mean_iou is not None]
    statuses = recording.summary["diagnostics"].values()
    values = {key: value for status in statuses for key, value in status.items()}
    quarter = memory_mb[len(memory_mb) // 4]
    return Report(
        model=values["model"],
        device=values["device"],
        camera=camera,
        frames=_counts(values, sum(frame.image is not None for frame in recording.frames)),
        fps=tracked_rate(frames),
        latency_ms=latencies_ms(frames),
        network_ms=float(values["network time [ms]"]),
        own_ms=float(values["own time [ms]"]),
        objects=objects,
        mean_iou=round(float(np.mean(ious)), 4) if ious else None,
        memory_mb={"after_quarter": round(quarter, 1), "end": round(memory_mb[-1], 1)},
    )


def load_clicks(path: Path) -> list[Click]:
    """What the client wrote; nothing where it did not come to that."""
    return [Click(**click) for click in json.loads(path.read_text())] if path.exists() else []


def tracks(frames: Sequence[RecordedFrame], clicks: Sequence[Click]) -> list[Track]:
    """Every clicked object's track, judged by the ground truth where the frames have it."""
    first_clicks = {click.object_id: click for click in reversed(clicks)}
    result = []
    for object_id, click in sorted(first_clicks.items()):
        seen = [(frame, item) for frame in frames for item in frame.objects if item.id == object_id]
        if seen:
            ious = np.array([_judge(item, frame.labels, click.truth) for frame, item in seen])
            result.append(
                Track(
                    id=object_id,
                    label=click.label,
                    stamps=np.array([frame.stamp for frame, _ in seen]),
                    visible=np.array([item.visible for _, item in seen]),
                    judged=np.array([click.truth > 0 and frame.labels is not None for frame, _ in seen]),
                    in_view=~np.isnan(ious),
                    iou=ious,
                )
            )
    return result


def latencies_ms(frames: Sequence[RecordedFrame]) -> dict[str, float]:
    """Image stamp to arrival of the masks."""
    values = [(frame.arrival - frame.stamp) * 1e-6 for frame in frames]
    return {"median": round(float(np.median(values)), 1), "p95": round(float(np.percentile(values, 95)), 1)}


def tracked_rate(frames: Sequence[RecordedFrame]) -> float:
    """Frames per second from the first to the last; 0 for less than two."""
    if len(frames) < 2:
        return 0.0
    return round((len(frames) - 1) / ((frames[-1].arrival - frames[0].arrival) * 1e-9), 2)


def _counts(values: Mapping[str, str], in_video: int) -> Counts:
    """From what the camera and the tracker say on /diagnostics."""
    published, received, tracked = (int(values[f"frames {what}"]) for what in _STAGES)
    dropped = frames_dropped(values) | {
        "not received": published - received,
        "not finished": frames_waiting(values),
    }
    return Counts(published, received, tracked, dropped, in_video)


def _judge(item: RecordedObject, labels: np.ndarray | None, truth: int) -> float:
    """The IoU of one mask; NaN where the object is not in view, or there is no ground truth."""
    if labels is None or not truth:
        return float("nan")
    wanted = labels == truth
    if int(wanted.sum()) < IN_VIEW_AREA:
        return float("nan")
    mask = item.mask
    return float((mask & wanted).sum() / (mask | wanted).sum())


def _two_digits(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"
