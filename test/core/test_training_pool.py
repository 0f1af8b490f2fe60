"""A pool of rendered clips is the same whoever renders it, and carries parts."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from sam2_core.evaluation.dataset import DatasetError
from sam2_core.evaluation.mask_folders import DatasetFileError
from sam2_core.scenes.procedural import sample_scene
from sam2_core.training.config import load_config
from sam2_core.training.datasets.opening import Datasets, open_datasets
from sam2_core.training.datasets.rendered import LabelledClip
from sam2_core.training.pool import SCENES_PER_SHARD, find_shards, open_shard, render_pool

SIZE = 32


def render(folder: Path, workers: int) -> list[tuple[np.ndarray, ...]]:
    render_pool("procedural", range(40, 40 + 2 * SCENES_PER_SHARD), 2, SIZE, folder, workers)
    shards = [open_shard(path) for path in find_shards(folder, "procedural")]
    return [(shard.frames, shard.labels, shard.owners) for shard in shards]


def test_clips_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    alone, shared = render(tmp_path / "alone", 1), render(tmp_path / "shared", 2)
    assert len(alone) == len(shared) == 2
    for first, second in zip(alone, shared, strict=True):
        for one, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, other)
    for clip, (frames, labels, owners) in enumerate(zip(*alone[1], strict=True)):
        scene = sample_scene(40 + SCENES_PER_SHARD + clip, frames=2, size=(SIZE, SIZE))
        np.testing.assert_array_equal(frames, scene.frames)
        np.testing.assert_array_equal(owners[labels], scene.labels)
    parts = [np.bincount(owners, minlength=2)[1:].max() for owners in alone[1][2]]
    assert max(parts) > 1, "some object has several parts"


def test_an_object_is_the_set_of_its_parts_and_sometimes_a_part_is_one() -> None:
    labels = np.zeros((2, 20, 20), np.uint8)
    labels[:, :10, :10], labels[:, 10:, :10], labels[:, :, 15:] = 1, 2, 3
    owners = np.zeros(256, np.uint8)
    owners[1:4] = 1, 1, 2
    frames = np.zeros((2, 20, 20, 3), np.uint8)
    for parts, expected in ((False, [100, 200]), (True, [100, 100, 100, 200])):
        clip = LabelledClip("clip", frames, labels, owners, parts)
        masks = clip.masks(0, clip.seen(0))
        assert sorted(int(mask.sum()) for mask in masks.values()) == expected


def opened(folder: Path, frames: int) -> Datasets:
    shape = {"image_size": SIZE, "frames": frames, "prompts": {"click": 1.0}}
    data = [{"rendered": "procedural", "path": str(folder)}]
    config = load_config(None, {"model": "sam2_pico", "data": data, "stages": [{"batches": [shape]}]})
    return open_datasets(config, quiet=True)


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Two shards, of three clips of two frames each."""
    for name in ("0000000", "0000016"):
        folder = tmp_path / "procedural" / name
        folder.mkdir(parents=True)
        np.save(folder / "frames.npy", np.zeros((3, 2, SIZE, SIZE, 3), np.uint8))
        np.save(folder / "labels.npy", np.zeros((3, 2, SIZE, SIZE), np.uint8))
        np.save(folder / "owners.npy", np.zeros((3, 256), np.uint8))
    return tmp_path


def test_a_pool_without_clips_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no clips of family 'procedural'"):
        opened(tmp_path, 1)


def test_clips_that_are_too_short_are_refused(pool: Path) -> None:
    assert not opened(pool, 2).problems
    with pytest.raises(DatasetError, match=r"0000016: has clips of 2 frames; allowed: 3 or more"):
        opened(pool, 3)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("owners", None, "has no owners.npy"),
        ("frames", b"", "damaged"),
        ("labels", b"no array", "damaged"),
        ("frames", slice(200), "damaged"),
        ("labels", slice(20), "damaged"),
        ("owners", np.zeros(256, np.uint8), r"uint8 \[256\]; allowed"),
    ],
)
def test_a_shard_that_cannot_be_used_is_named_and_left_out(
    pool: Path, name: str, content: bytes | slice | np.ndarray | None, reason: str
) -> None:
    path = pool / "procedural/0000000" / f"{name}.npy"
    if content is None:
        path.unlink()
    elif isinstance(content, np.ndarray):
        np.save(path, content)
    else:
        path.write_bytes(path.read_bytes()[content] if isinstance(content, slice) else content)
    with pytest.raises(DatasetFileError, match=rf"0000000.*{reason}"):
        open_shard(path.parent)
    datasets = opened(pool, 2)
    (problem,) = datasets.problems
    assert str(path.parent) in problem
    _, dataset = datasets.training[0]
    clips = [dataset.draw(2, SIZE, np.random.default_rng(seed)) for seed in range(8)]
    assert all(len(clip) == 2 for clip in clips)


def test_other_processes_get_the_places_of_a_pool_and_no_copy(pool: Path) -> None:
    _, dataset = opened(pool, 2).training[0]
    assert len(pickle.dumps(dataset)) < (pool / "procedural/0000000/frames.npy").stat().st_size / 4
    drawn, there = (
        one.draw(2, SIZE, np.random.default_rng(0)) for one in (dataset, pickle.loads(pickle.dumps(dataset)))
    )
    assert drawn.name == there.name
