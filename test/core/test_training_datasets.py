"""Videos in the public layouts, whole and damaged, and how they are parted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import training_folders
from PIL import Image
from training_folders import opened, videos

from sam2_core.evaluation.dataset import DatasetError
from sam2_core.tools.train import main
from sam2_core.training.augmentation import choose_frames
from sam2_core.training.batches import ClipBatch, ClipBatches
from sam2_core.training.clip import read_clip
from sam2_core.training.config import load_config
from sam2_core.training.datasets.opening import Datasets, open_datasets
from sam2_core.training.validation import validation_batches


def test_a_davis_folder(tmp_path: Path) -> None:
    datasets, batches = opened(4, path=str(training_folders.davis(tmp_path, 4)))
    assert [video.name for video in videos(datasets)] == ["v01", "v02", "v03"]
    assert [source.name for _, sources in datasets.validation for source in sources] == ["v00"]
    video = videos(datasets)[0]
    truth = training_folders.scene(101)
    assert np.abs(video.image(3).astype(int) - truth.frames[3]).mean() < 8
    np.testing.assert_array_equal(video.masks(3, ["1"])["1"], truth.labels[3] == 1)
    batch = batches[0, 0]
    assert batch.frames.shape == (4, 3, 3, 64, 64)
    assert batch.known.all()
    assert not batch.faults


def test_frames_without_masks_are_not_known(tmp_path: Path) -> None:
    datasets, batches = opened(6, path=str(training_folders.davis(tmp_path, 2, every=3)), held_out=0)
    assert list(videos(datasets)[0].annotated) == [0, 3, 6]
    seen = [batches[step, 0] for step in range(5)]
    for batch in seen:
        assert batch.known[0].all(), "the first frame is prompted"
        assert batch.known[1:].any(dim=0).all(), "every object is known later as well"
        assert not batch.known[1:].all()
        assert not batch.masks[~batch.known].any()


@pytest.mark.parametrize(("apart", "steps"), [(1, {1, 2, 3}), (4, {4, 8}), (7, set(range(3, 10)))])
def test_chosen_frames_follow_the_annotation_both_ways(apart: int, steps: set[int]) -> None:
    rng = np.random.default_rng(0)
    annotated = range(0, 80, apart)
    taken, directions = set(), set()
    for _ in range(60):
        frames = choose_frames(80, annotated, 8, rng)
        assert frames is not None
        assert frames[0] in annotated
        assert min(frames) >= 0
        assert max(frames) < 80
        taken |= set(np.abs(np.diff(frames)).tolist())
        directions.add(bool(frames[-1] > frames[0]))
        if apart > 6:
            assert len(set(frames) & set(annotated)) > 4
    assert taken <= steps
    assert directions == {True, False}


def test_scenes_rendered_on_the_fly_depend_on_the_step_alone() -> None:
    first, again = (opened(2, rendered="procedural")[1][3, 0] for _ in range(2))
    assert np.array_equal(first.frames, again.frames)


def test_faults_are_listed_at_the_start(tmp_path: Path) -> None:
    root = training_folders.davis(tmp_path, 6)
    images, masks = root / "JPEGImages/480p", root / "Annotations/480p"
    (images / "v01/00003.jpg").unlink()
    (images / "v02/00002.jpg").write_bytes(b"no image")
    Image.new("L", (10, 10)).save(masks / "v03/00001.png")
    for path in (masks / "v04").iterdir():
        Image.new("L", (80, 64)).save(path)
    (masks / "v99").mkdir()
    datasets, batches = opened(4, path=str(root), held_out=0)
    assert [video.name for video in videos(datasets)] == ["v00", "v05"]
    for told in (
        "v01: annotates frame 00003, which is not in",
        "v02/00002.jpg: is not a readable image",
        "v03/00001.png: is 10 x 10; allowed: the frame's size, 80 x 64",
        "v04: no mask shows an object",
        "JPEGImages/480p/v99: no such folder",
    ):
        assert [problem for problem in datasets.problems if told in problem], told
    assert not batches[0, 0].faults


@pytest.mark.parametrize("frames", [1, 3])
def test_a_short_video_is_listed(tmp_path: Path, frames: int) -> None:
    training_folders.davis(tmp_path, 1, frames=frames)
    with pytest.raises(DatasetError, match=f"v00: has {frames} frames; a clip has 4"):
        opened(4, path=str(tmp_path))


def test_a_short_video_that_was_not_checked_is_named_when_it_is_drawn(tmp_path: Path) -> None:
    training_folders.davis(tmp_path, 1)
    training_folders.davis(tmp_path / "short", 2, frames=1)
    for kind in ("JPEGImages/480p", "Annotations/480p"):
        (tmp_path / "short" / kind / "v01").rename(tmp_path / kind / "v01")
    _, batches = opened(4, path=str(tmp_path), held_out=0, check=False)
    drawn = [batches[step, 0] for step in range(3)]
    assert {fault for batch in drawn for fault in batch.faults} == {"v01: has 1 frames; a clip has 4"}
    assert choose_frames(3, [0, 1, 2], 4, np.random.default_rng(0)) is None


def test_a_frame_that_breaks_later_is_named_and_another_clip_drawn(tmp_path: Path) -> None:
    root = training_folders.davis(tmp_path, 2)
    _, batches = opened(4, path=str(root), held_out=0)
    for path in (root / "JPEGImages/480p/v01").iterdir():
        path.write_bytes(path.read_bytes()[:300])  # the header is whole, the picture is not
    drawn = [batches[step, 0] for step in range(3)]
    assert all(batch.frames.shape == (4, 3, 3, 64, 64) for batch in drawn)
    assert {Path(fault.split(":")[0]).parent.name for batch in drawn for fault in batch.faults} == {"v01"}


def held_out_and_trained_on(datasets: Datasets) -> tuple[list[str], list[str]]:
    held_out = [source.name for _, sources in datasets.validation for source in sources]
    return held_out, [video.name for video in videos(datasets)]


def test_a_video_is_held_out_with_all_of_its_masks(tmp_path: Path) -> None:
    root = training_folders.sav(tmp_path, 4)
    for path in list(root.iterdir()):
        if path.stem != "sav_000001_manual" and path.suffix == ".json":
            shutil.copy(path, path.with_name(path.name.replace("_manual", "_auto")))
    held_out, trained_on = held_out_and_trained_on(opened(4, path=str(root), held_out=0.5)[0])
    assert held_out == [f"sav_00000{number}_{kind}" for number in (0, 2) for kind in ("auto", "manual")]
    assert trained_on == ["sav_000001_manual", "sav_000003_auto", "sav_000003_manual"]


@pytest.mark.parametrize(("share", "count"), [(0, 0), (0.01, 1), (0.2, 1), (0.4, 2), (0.7, 4), (0.95, 4)])
def test_a_share_of_the_videos_is_held_out(tmp_path: Path, share: float, count: int) -> None:
    root = training_folders.davis(tmp_path, 5, frames=2)
    held_out, trained_on = held_out_and_trained_on(opened(2, path=str(root), held_out=share, check=False)[0])
    assert len(held_out) == count
    assert sorted(held_out + trained_on) == [f"v0{index}" for index in range(5)]


def test_linked_folders_are_followed_once_each(tmp_path: Path) -> None:
    training_folders.sav(tmp_path / "elsewhere", 2)
    root = tmp_path / "data"
    training_folders.sa_1b(root / "sa", 0)
    for name in ("one", "another"):
        (root / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(root)
    datasets, _ = opened(4, path=str(root), held_out=0)
    assert [video.name for video in videos(datasets)] == ["sav_000000_manual", "sav_000001_manual"]


def test_validation_clips_are_the_first_of_the_held_out_videos(tmp_path: Path) -> None:
    root = training_folders.davis(tmp_path, 2, every=2)
    config = load_config(None, {"model": "sam2_pico", "data": [{"path": str(root)}]})
    faults: list[str] = []
    (batch,) = validation_batches(config, open_datasets(config, quiet=True).validation, 64, faults)
    assert not faults
    assert isinstance(batch, ClipBatch)
    assert batch.frames.shape[:2] == (4, 1), "the annotated frames of the one video"
    assert batch.known.all()


@pytest.mark.parametrize("strict", [False, True])
def test_strict_makes_a_fault_fatal(tmp_path: Path, strict: bool, capsys: pytest.CaptureFixture[str]) -> None:
    root = training_folders.davis(tmp_path / "data", 3)
    (root / "JPEGImages/480p/v01/00002.jpg").write_bytes(b"no image")
    weights = Path(__file__).parents[2] / "sam2_core" / "weights" / "sam2_pico.safetensors"
    settings = {
        "stages": [
            {"steps": 1, "batches": [{"image_size": 64, "frames": 2, "objects": 1, "corrected_frames": 0}]}
        ],
        "validation_clips": 0,
    }
    (tmp_path / "run.yaml").write_text(json.dumps(settings))
    command = [
        "--config",
        tmp_path / "run.yaml",
        "--finetune",
        weights,
        "--data",
        root,
        "--out",
        tmp_path / "run",
    ]
    status = main([*map(str, command), "--device", "cpu", *(["--strict"] if strict else [])])
    assert "v01/00002.jpg: is not a readable image" in capsys.readouterr().err
    assert status == (1 if strict else 0)
    assert (tmp_path / "run" / "model.safetensors").exists() != strict


def test_masks_of_a_clip_have_the_size_of_its_frames(tmp_path: Path) -> None:
    datasets, _ = opened(2, path=str(training_folders.davis(tmp_path, 1)))
    clip = read_clip(videos(datasets)[0], [5, 3], 2, np.random.default_rng(0))
    assert clip is not None
    assert clip.masks.shape[2:] == clip.frames.shape[1:3] == (64, 80)
    assert clip.masks[0].any(axis=(1, 2)).all()


def test_images_and_videos_together_and_other_videos_to_validate_on(tmp_path: Path) -> None:
    images = {"image_size": 32, "frames": 1, "clips": 4, "prompts": {"click": 1.0}}
    clips = {"image_size": 32, "frames": 4, "clips": 2}
    data = [
        {"path": str(training_folders.sav(tmp_path / "sav", 2)), "share": 2},
        {"path": str(training_folders.sa_1b(tmp_path / "sa", 2)), "share": 1},
        {"rendered": "procedural", "share": 1},
    ]
    validation = [{"path": str(training_folders.davis(tmp_path / "davis", 2))}]
    config = load_config(
        None,
        {
            "model": "sam2_pico",
            "data": data,
            "validation": validation,
            "stages": [{"steps": 9, "batches": [images, clips], "accumulate": 2}],
        },
    )
    datasets = open_datasets(config, quiet=True)
    assert len(videos(datasets)) == 2, "nothing is held out"
    assert [source.name for _, sources in datasets.validation for source in sources] == ["v00", "v01"]
    batches = ClipBatches(config, datasets.training)
    drawn = [batches[0, slot] for slot in range(4)]
    assert [batch.frames.shape[:2] for batch in drawn] == [(1, 4), (4, 2), (1, 4), (4, 2)]
    assert not any(batch.faults for batch in drawn)
