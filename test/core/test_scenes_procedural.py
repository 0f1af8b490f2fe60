"""2D scenes: reproducible, honestly labelled, and held-out scenes share nothing with training scenes."""

import numpy as np
import pytest

from sam2_core.scenes.procedural import sample_scene
from sam2_core.scenes.sprites import Sprite, draw


def test_a_scene_depends_on_its_arguments_only():
    first = sample_scene(7, frames=3)
    second = sample_scene(7, frames=3)
    np.testing.assert_array_equal(first.frames, second.frames)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.names == second.names
    assert np.any(first.frames != sample_scene(8, frames=3).frames)
    assert np.any(first.frames != sample_scene(7, frames=3, family="held_out").frames)


def test_shapes_and_types_are_as_documented():
    scene = sample_scene(1, frames=5, size=(96, 160))
    assert scene.frames.shape == (5, 96, 160, 3)
    assert scene.frames.dtype == np.uint8
    assert scene.labels.shape == (5, 96, 160)
    assert scene.labels.dtype == np.uint8
    assert scene.depth is None


@pytest.mark.parametrize("family", ["train", "held_out"])
def test_labels_names_and_visibility_agree(family):
    for seed in range(10):
        scene = sample_scene(seed, frames=4, size=(128, 128), family=family)
        count = len(scene.names)
        assert 2 <= count <= 5
        visible = scene.visible()
        assert visible.shape == (4, count)
        for labels, seen in zip(scene.labels, visible, strict=True):
            assert set(np.unique(labels)) - {0} == set(np.flatnonzero(seen) + 1)


def test_visibility_asks_for_the_given_area():
    scene = sample_scene(0, frames=2)
    area = int((scene.labels[0] == 1).sum())
    assert scene.visible(area)[0, 0]
    assert not scene.visible(area + 1)[0, 0]


def test_held_out_scenes_use_nothing_that_training_scenes_use():
    used = {
        family: frozenset().union(
            *(sample_scene(seed, frames=1, size=(32, 32), family=family).kinds for seed in range(25))
        )
        for family in ("train", "held_out")
    }
    assert used["train"].isdisjoint(used["held_out"])
    for family in used.values():
        assert {kind.partition(":")[0] for kind in family} == {"shape", "texture", "photo"}


def test_some_objects_leave_the_view_and_come_back():
    def came_back(seen):
        gone = np.flatnonzero(~seen)
        return len(gone) > 0 and seen[: gone[0]].any() and seen[gone[0] :].any()

    scenes = (sample_scene(seed, frames=24, size=(64, 64)) for seed in range(30))
    assert any(came_back(seen) for scene in scenes for seen in scene.visible().T)


def test_the_object_in_front_owns_the_pixels_that_show_it():
    def disc(colour: tuple[int, int, int]) -> Sprite:
        y, x = np.mgrid[-20:21, -20:21]
        alpha = np.clip(20 - np.hypot(x, y), 0, 1).astype(np.float32)
        return Sprite(np.full((41, 41, 3), colour, np.uint8), alpha, "ellipse", frozenset())

    frame = np.zeros((64, 64, 3), np.uint8)
    labels = np.zeros((64, 64), np.uint8)
    draw(disc((250, 0, 0)), np.array([[1.0, 0, 4], [0, 1, 10]]), frame, labels, 1)
    draw(disc((0, 250, 0)), np.array([[1.0, 0, 18], [0, 1, 10]]), frame, labels, 2)
    draw(disc((0, 0, 250)), np.array([[1.0, 0, 40], [0, 1, 10]]), frame, labels, 0)
    assert (frame[labels == 1, 0] > 100).all()
    assert (frame[labels == 2, 1] > 100).all()
    assert not labels[frame[..., 2] > 150].any(), "an occluder hides the labels below it"
    assert labels[30, 10] == 1
    assert labels[30, 34] == 2


def test_an_unknown_family_is_refused():
    with pytest.raises(ValueError, match=r"'tarin'.*train, held_out"):
        sample_scene(0, family="tarin")
