"""The demo's figures, from recordings whose truth is known; and where it clicks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam2_core.masks import encode_rle
from sam2_ros.clicking import choose_things, grid, inner_point
from sam2_ros.demo_report import Click, latencies_ms, load_clicks, make_report, tracked_rate, tracks
from sam2_ros.recording import Progress, RecordedFrame, RecordedObject, Recording, RecordingWriter

SIZE = (20, 30)
STEP = 100_000_000  # [ns]
MUG = Click(object_id=1, label="mug", stamp=0, x=5.0, y=5.0, truth=2)
DIAGNOSTICS = {
    "sam2": {"model": "sam2_pico", "device": "cpu"},
    "camera_simulator: frames": {"frames published": "9"},
    "sam2: camera": {
        "frames received": "7",
        "frames tracked": "4",
        "dropped: newer frame arrived": "3",
        "network time [ms]": "80.0",
        "own time [ms]": "4.0",
    },
}


def block(columns: int) -> np.ndarray:
    """Ten rows of some columns, from the corner on."""
    mask = np.zeros(SIZE, bool)
    mask[:10, :columns] = True
    return mask


def frame(index: int, tracked: int, true: int | None, visible: bool = True) -> RecordedFrame:
    """A frame whose mask and truth are blocks of so many columns; truth None: no labels were received."""
    thing = RecordedObject(1, "mug", visible, 1.0, 0.5, encode_rle(block(tracked)), SIZE)
    labels = None if true is None else block(true).astype(np.uint8) * MUG.truth
    image = np.full((*SIZE, 3), index, np.uint8)
    stamp = index * STEP
    return RecordedFrame(stamp, stamp + (index + 1) * 1_000_000, (thing,), image, labels)


FRAMES = (
    frame(0, tracked=10, true=10),
    frame(1, tracked=10, true=5),
    frame(2, tracked=0, true=0, visible=False),
    frame(3, tracked=10, true=0),
)


def test_iou_counts_where_the_object_is_in_view_and_visibility_everywhere() -> None:
    (track,) = tracks(FRAMES, [MUG])
    np.testing.assert_allclose(track.iou, [1.0, 0.5, np.nan, np.nan])
    report = track.report()
    assert report.mean_iou == 0.75
    assert report.visibility_right == 0.75
    assert (report.frames, report.frames_visible) == (4, 3)


def test_a_frame_without_labels_is_not_judged() -> None:
    (track,) = tracks((*FRAMES, frame(4, tracked=10, true=None)), [MUG])
    report = track.report()
    assert report.frames == 5
    assert report.mean_iou == 0.75
    assert report.visibility_right == 0.75


def test_without_ground_truth_there_is_no_iou() -> None:
    blind = Click(1, "mug", 0, 5.0, 5.0, truth=0)
    (track,) = tracks(FRAMES, [blind])
    assert track.report().mean_iou is None
    assert track.report().visibility_right is None


def test_two_clicks_on_one_object_are_one_track() -> None:
    assert len(tracks(FRAMES, [MUG, MUG])) == 1


def test_latency_and_rate() -> None:
    assert latencies_ms(FRAMES) == {"median": 2.5, "p95": pytest.approx(3.85, abs=0.1)}
    assert tracked_rate(FRAMES) == pytest.approx(3 / 0.303, rel=0.01)
    assert tracked_rate(FRAMES[:1]) == 0.0


def test_every_published_frame_is_accounted_for() -> None:
    recording = Recording(FRAMES, {"diagnostics": DIAGNOSTICS})
    report = make_report("a camera", recording, [MUG], [100.0, 110.0, 120.0, 130.0])
    assert report.frames.published == 9
    assert report.frames.dropped == {"newer frame arrived": 3, "not received": 2, "not finished": 0}
    assert report.memory_mb == {"after_quarter": 110.0, "end": 130.0}
    assert (
        report.table().splitlines()[-1] == f"demo: 1 objects, 4 frames, mean IoU 0.75, {report.fps:.1f} fps"
    )
    assert "3 newer frame arrived, 2 not received" in report.table()


def test_a_recording_comes_back_as_it_was_written(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path)
    for item in FRAMES:
        writer.write(item)
    writer.note_progress(Progress(images=17, waiting=2))
    assert Progress.of(tmp_path) == Progress(17, 2), "known while the recording goes on"
    writer.finish({"diagnostics": DIAGNOSTICS})
    recording = Recording.load(tmp_path)
    assert recording.summary["diagnostics"] == DIAGNOSTICS
    for written, read in zip(FRAMES, recording.frames, strict=True):
        assert (read.stamp, read.arrival, read.objects) == (written.stamp, written.arrival, written.objects)
        np.testing.assert_array_equal(read.image, written.image)
        np.testing.assert_array_equal(read.labels, written.labels)
    np.testing.assert_array_equal(recording.frames[1].objects[0].mask, block(10))
    assert Progress.of(tmp_path / "nothing here") == Progress(0, 0)
    assert load_clicks(tmp_path / "nothing here") == []


def test_a_click_goes_into_the_thick_of_the_mask() -> None:
    ring = np.ones(SIZE, bool)
    ring[3:-3, 3:-8] = False  # its centre is no part of it; the right side is the thickest
    x, y = inner_point(ring)
    assert ring[int(y), int(x)]
    assert x > 20
    corner = np.zeros(SIZE, bool)
    corner[:11, :11] = True
    assert inner_point(corner) == (5.5, 5.5), "the border of the image is a border of the object"


def test_the_grid_begins_in_the_middle_and_covers_the_image() -> None:
    points = grid(*SIZE)
    assert points[0] == (15.0, 10.0)
    assert len(set(points)) == len(points) == 25
    assert all(0 < x < 30 and 0 < y < 20 for x, y in points)


def test_chosen_things_are_neither_specks_nor_background_and_lie_apart() -> None:
    speck, everything = np.zeros(SIZE, bool), np.ones(SIZE, bool)
    speck[0, 0] = True
    best, same_again, other = block(6), block(7), np.roll(block(6), 15, axis=1)
    masks, qualities = [speck, everything, other, same_again, best], [0.99, 0.98, 0.5, 0.8, 0.9]
    assert choose_things(masks, qualities, count=3) == [4, 2]
    assert choose_things(masks, qualities, count=1) == [4]
