"""Videos of SA-V's training set, whole and damaged."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training_folders
from hypothesis import given, settings
from hypothesis import strategies as st
from training_folders import opened, videos

from sam2_core.training.datasets.opening import UNUSABLE
from sam2_core.training.datasets.sav import SavSource


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_sav_videos(tmp_path: Path) -> None:
    datasets, batches = opened(4, path=str(training_folders.sav(tmp_path / "sav", 2)), held_out=0)
    assert not datasets.problems
    video = videos(datasets)[1]
    assert len(video) == 25
    assert list(video.annotated) == [0, 4, 8, 12, 16, 20, 24]
    truth = training_folders.scene(201, frames=25)
    np.testing.assert_array_equal(video.masks(8, ["1"])["1"], truth.labels[8] == 2)
    assert np.abs(video.image(8).astype(int) - truth.frames[8]).mean() < 12
    assert "0" not in video.masks(24, ["0", "1"]), "null: not known"
    assert video.masks(9, ["0"]) == {}
    assert batches[0, 0].frames.shape == (4, 3, 3, 64, 64)


@pytest.mark.parametrize(
    ("rate", "every", "fps"), [(30, 5, 6), (30000 / 1001, 5, [6.0]), (24, 2, 12), (12.5, 5, 2.5), (24, 1, 24)]
)
def test_masks_are_of_the_frames_that_the_rate_of_the_video_tells(
    tmp_path: Path, rate: float, every: int, fps: Any
) -> None:
    change(training_folders.sav(tmp_path, 1, rate, every) / "sav_000000_manual.json", fps=fps)
    (video,) = videos(opened(4, path=str(tmp_path))[0])
    assert list(video.annotated) == list(range(0, 25, every))
    labels = training_folders.scene(200, frames=25).labels
    np.testing.assert_array_equal(video.masks(2 * every, ["0"])["0"], labels[2 * every] == 1)


def test_faults_are_listed_at_the_start(tmp_path: Path) -> None:
    root = training_folders.sav(tmp_path, 12)
    annotations = sorted(root.glob("*.json"))
    (root / "sav_000001.mp4").unlink()
    annotations[2].write_text("{")
    (root / "sav_000003.mp4").write_bytes(b"no video")
    masklet = json.loads(annotations[4].read_text())["masklet"]
    other = {"size": [32, 160], "counts": masklet[0][1]["counts"]}
    change(annotations[4], masklet=[[{**masklet[0][0], "counts": "o"}, *masklet[0][1:]], *masklet[1:]])
    change(annotations[5], masklet=[*masklet[:2], None])
    change(annotations[6], masklet=[*masklet[:2], {"a": None, "b": None, "c": None}])
    change(annotations[7], masklet=[[masklet[0][0], other, *masklet[0][2:]]])
    change(annotations[8], masklet=[[None] for _ in masklet])
    change(annotations[9], fps=5)
    change(annotations[10], video_id=None)
    (root / "sav_000011.mp4").rename(root / "sav_000011.MP4")
    datasets, _ = opened(4, path=str(root), held_out=0)
    assert [video.name for video in videos(datasets)] == ["sav_000000_manual", "sav_000011_manual"]
    told = "\n".join(datasets.problems)
    for number, reason in (
        (1, "annotates video 'sav_000001', which is not beside it"),
        (2, "is not a readable JSON file"),
        (4, "holds a damaged mask"),
        (5, "does not tell of 3 objects on every frame"),
        (6, "does not tell of 3 objects on every frame"),
        (7, "the size of the mask of object 1 on frame 0 is 160 x 32; allowed: the video's, 80 x 64"),
        (8, "no mask shows an object"),
        (9, "fps is 5; allowed: the video's rate, 24.00, divided by a whole number"),
        (10, "annotates video None, which is not beside it"),
    ):
        assert f"sav_{number:06}_manual.json: {reason}" in told
    assert "sav_000003.mp4: not a readable video" in told


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[SavSource, Path, Path]:
    """A video with its annotation and its file."""
    root = training_folders.sav(tmp_path_factory.mktemp("sav"), 1)
    annotation = root / "sav_000000_manual.json"
    return SavSource(annotation), annotation, root / "sav_000000.mp4"


def use(source: SavSource, file: Path, content: bytes) -> None:
    """All that is done with a video while a file of it holds something; what cannot be used may be named."""
    good = file.read_bytes()
    try:
        file.write_bytes(content)
        source.check()
        video = source.open()
        video.image(video.annotated[-1])
    except UNUSABLE:
        pass
    finally:
        file.write_bytes(good)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["size", "counts"]), inner),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_an_annotation_holds_is_used_or_named(
    whole: tuple[SavSource, Path, Path], data: st.DataObject
) -> None:
    source, annotation, _ = whole
    content = json.loads(annotation.read_text())
    places = [content, content["masklet"], content["masklet"][1], content["masklet"][1][1]]
    place = data.draw(st.sampled_from(places))
    key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    place[key] = data.draw(VALUES)
    use(source, annotation, json.dumps(content).encode())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_a_video_file_holds_is_used_or_named(
    whole: tuple[SavSource, Path, Path], data: st.DataObject
) -> None:
    source, _, file = whole
    good = file.read_bytes()
    header = good.index(b"mdat")
    content = bytearray(good[: data.draw(st.integers(0, header) | st.just(len(good)))])
    for _ in range(data.draw(st.integers(0, 3)) if content else 0):
        content[data.draw(st.integers(0, min(len(content), header) - 1))] = data.draw(st.integers(0, 255))
    use(source, file, bytes(content))


def test_a_file_is_closed_with_the_last_use_of_its_video(whole: tuple[SavSource, Path, Path]) -> None:
    source, _, file = whole
    gc.disable()
    try:
        video = source.open()
        video.image(20)
        video.image(3)
        assert file in opened_files()
        del video
        assert file not in opened_files()
    finally:
        gc.enable()


def opened_files() -> list[Path]:
    return [path.resolve() for path in Path("/proc/self/fd").iterdir()]
