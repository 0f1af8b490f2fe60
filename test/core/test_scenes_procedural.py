"""2D scenes: reproducible, honestly labelled, and held-out scenes share nothing with training scenes."""

import numpy as np
import pytest

from sam2_core.scenes.procedural import FAMILIES, sample_scene


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


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_names_and_visibility_agree(family):
    for seed in range(10):
        scene = sample_scene(seed, frames=4, size=(128, 128), family=family)
        count = len(scene.names)
        assert 1 <= count <= 9
        visible = scene.visible()
        assert visible.shape == (4, count)
        for labels, seen in zip(scene.labels, visible, strict=True):
            assert set(np.unique(labels)) - {0} == set(np.flatnonzero(seen) + 1)


def test_visibility_asks_for_the_given_area():
    scene = sample_scene(0, frames=2)
    label = int(np.flatnonzero(scene.visible()[0])[0])
    area = int((scene.labels[0] == label + 1).sum())
    assert scene.visible(area)[0, label]
    assert not scene.visible(area + 1)[0, label]


def test_held_out_scenes_use_nothing_that_training_scenes_use():
    used = {
        family: frozenset().union(
            *(sample_scene(seed, frames=1, size=(32, 32), family=family).kinds for seed in range(25))
        )
        for family in FAMILIES
    }
    for family in ("held_out", "held_out_hard"):
        assert (used["train"] | used["plain"]).isdisjoint(used[family] - {"shape:cover"})
    for family, kinds in used.items():
        ways = {"course"} if family in ("train", "held_out_hard") else set()
        assert {kind.partition(":")[0] for kind in kinds} == {"shape", "texture", "photo"} | ways


def test_the_published_held_out_scenes_are_drawn_as_ever():
    """Their names and kinds come from every draw up to the last object: another order would change them."""
    scene = sample_scene(5, frames=1, size=(24, 32), family="held_out")
    assert scene.names == ("heart+crescent+heart+arrow", "heart", "crescent", "heart+arrow+heart+arrow")
    textures = {"texture:brushed", "texture:speckle", "photo:text"}
    assert scene.kinds == textures | {
        f"shape:{kind}" for kind in ("arrow", "crescent", "cross", "gear", "heart")
    }


def test_parts_make_up_the_objects():
    scenes = [sample_scene(seed, frames=2, size=(64, 64)) for seed in range(12)]
    with_parts = [scene for scene in scenes if scene.parts is not None]
    assert with_parts
    for scene in with_parts:
        owners = np.array([0, *scene.owners])
        np.testing.assert_array_equal(owners[scene.parts], scene.labels)
        assert max(np.bincount(scene.owners)) > 1, "some object has several parts"


@pytest.mark.parametrize("family", ["train", "held_out"])
def test_the_finest_labels_are_parts_or_else_objects(family):
    for seed in range(6):
        scene = sample_scene(seed, frames=1, size=(48, 48), family=family)
        labels, owners = scene.finest()
        np.testing.assert_array_equal(owners[labels], scene.labels)


def test_objects_cover_little_of_the_view_or_much():
    scenes = [sample_scene(seed, frames=1, size=(96, 96)) for seed in range(40)]
    areas = np.concatenate([np.bincount(scene.labels.ravel(), minlength=2)[1:] for scene in scenes])
    shares = areas[areas > 0] / (96 * 96)
    assert np.quantile(shares, 0.1) < 0.015
    assert shares.max() > 0.35
    assert 0.02 < np.median(shares) < 0.1


def test_in_hard_scenes_an_object_returns_after_twenty_hidden_frames():
    returned = 0
    for seed in range(4):
        scene = sample_scene(seed, frames=60, size=(48, 64), family="held_out_hard")
        for seen in scene.visible(min_area=3).T:
            shown = np.flatnonzero(seen)
            returned += len(shown) > 1 and np.diff(shown).max() > 20
    assert returned >= 3


def test_some_objects_leave_the_view_and_come_back():
    def came_back(seen):
        gone = np.flatnonzero(~seen)
        return len(gone) > 0 and seen[: gone[0]].any() and seen[gone[0] :].any()

    scenes = (sample_scene(seed, frames=24, size=(64, 64)) for seed in range(30))
    assert any(came_back(seen) for scene in scenes for seen in scene.visible().T)


def test_an_unknown_family_is_refused():
    with pytest.raises(ValueError, match=r"'tarin'.*train, held_out"):
        sample_scene(0, family="tarin")
