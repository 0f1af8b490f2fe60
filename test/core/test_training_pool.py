"""A pool of rendered clips is the same whoever renders it, and carries parts."""

from pathlib import Path

import numpy as np
import pytest

from sam2_core.scenes.procedural import sample_scene
from sam2_core.training.datasets.rendered import LabelledClip
from sam2_core.training.pool import SCENES_PER_SHARD, open_pool, render_pool

SIZE = 32


def render(folder: Path, workers: int) -> list[tuple[np.ndarray, ...]]:
    render_pool("procedural", range(40, 40 + 2 * SCENES_PER_SHARD), 2, SIZE, folder, workers)
    return [(shard.frames, shard.labels, shard.owners) for shard in open_pool(folder, "procedural")]


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


def test_a_pool_of_an_earlier_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "procedural" / "0000000").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"0000000.*render it again"):
        open_pool(tmp_path, "procedural")
