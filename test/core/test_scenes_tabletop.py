"""Tabletop scenes: what the demo shows, that depth and labels agree, that held-out objects are new."""

import os
import subprocess
import sys

import numpy as np
import pytest

from sam2_core.scenes import demo_table, random_table
from sam2_core.scenes.rendering import look_at
from sam2_core.scenes.tabletop import sample_scene


@pytest.fixture(scope="module")
def demo():
    """One period of the demo at two frames per second."""
    return sample_scene(0, 20, (240, 320), "demo", fps=2)


def edge_pixels(mask):
    return mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum()


def test_a_scene_depends_on_its_arguments_only():
    first, second = (sample_scene(3, 2, (60, 80)) for _ in range(2))
    np.testing.assert_array_equal(first.frames, second.frames)
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.depth, second.depth)
    assert first.names == second.names
    assert np.any(first.labels != sample_scene(4, 2, (60, 80)).labels)


def test_the_demo_begins_with_all_its_objects_clearly_in_view(demo):
    assert demo.names == ("mug", "box", "can")
    assert demo.visible(min_area=demo.labels[0].size // 200)[0].all()
    assert sample_scene(0, 1, (240, 320), "demo", objects=6).visible(min_area=200).all()


def test_an_object_of_the_demo_passes_behind_another_and_reappears(demo):
    mug = demo.visible()[:, demo.names.index("mug")]
    hidden = np.flatnonzero(~mug)
    assert len(hidden)
    assert mug[: hidden[0]].any()
    assert mug[hidden[-1] + 1 :].any()
    # It vanishes behind the box, not over the edge: where it was last seen is now box.
    last = np.argwhere(demo.labels[hidden[0] - 1] == 1).mean(0)
    box = np.argwhere(demo.labels[hidden[0]] == 2)
    assert np.linalg.norm(box - last, axis=1).min() < 10


def test_an_object_of_the_demo_leaves_the_view_and_returns(demo):
    can = demo.visible()[:, demo.names.index("can")]
    gone = np.flatnonzero(~can)
    assert len(gone)
    assert can[0]
    assert can[-1]
    carried = sample_scene(0, 45, (60, 80), "demo", fps=10)
    assert any(edge_pixels(labels == 3) for labels in carried.labels), "it goes over the edge of the picture"


def test_the_demo_loops_without_a_jump():
    world, _ = demo_table.build(300, 30, objects=6)
    for path in [*(body.place for body in world.bodies), world.view.place, world.view.target]:
        steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
        assert np.linalg.norm(path[0] - path[-1]) <= steps.max() * 1.01 + 1e-12


def world_points(scene, world, index):
    """Every pixel of a frame put back into the world through depth and intrinsics [H, W, 3]."""
    height, width = scene.labels.shape[1:]
    pixels = np.stack([*np.meshgrid(np.arange(width), np.arange(height)), np.ones((height, width))], -1)
    points = pixels @ np.linalg.inv(scene.intrinsics).T * scene.depth[index][..., None]
    # The optical frame has y down and z forward, MuJoCo's camera y up and z backward.
    rotation = look_at(world.view.place[index], world.view.target[index])
    return (points * [1, -1, -1]) @ rotation.T + world.view.place[index]


def test_depth_is_metric_and_agrees_with_the_intrinsics(demo):
    world, _ = demo_table.build(20, 2, objects=3)
    assert demo.depth.dtype == np.float32
    assert np.isfinite(demo.depth).all()
    assert (demo.depth > 0).all()
    for index in (0, 8, 14):
        height = world_points(demo, world, index)[..., 2]
        on_table = (demo.labels[index] == 0) & (np.abs(height) < 0.02)
        assert on_table.mean() > 0.3
        assert np.abs(height[on_table]).mean() < 0.002


def test_labels_are_what_stands_on_the_table():
    world, _ = demo_table.build(1, 30, objects=2)  # without the gripper, which is not an object
    scene = sample_scene(0, 1, (240, 320), "demo", objects=2)
    points = world_points(scene, world, 0)
    standing = (points[..., 2] > 0.004) & (points[..., 1] < 0.5)
    labelled = scene.labels[0] > 0
    assert (standing & labelled).sum() > 0.95 * (standing | labelled).sum()


def test_random_scenes_label_every_object_they_name():
    for seed in range(2):
        scene = sample_scene(seed, 1, (96, 128), objects=4)
        assert len(scene.names) == 4
        assert scene.labels.max() <= 4
        assert {f"object:{name}" for name in scene.names} <= scene.kinds


def test_lids_and_handles_are_parts_of_their_objects():
    scene = sample_scene(0, 1, (240, 320), "demo", objects=3)
    owners = np.array([0, *scene.owners])
    np.testing.assert_array_equal(owners[scene.parts], scene.labels)
    can = scene.names.index("can") + 1
    shown = np.unique(scene.parts[0][scene.labels[0] == can])
    assert len(shown) == 2, "the can and its lid"


def test_held_out_tables_use_nothing_that_training_tables_use():
    used = {
        family: frozenset().union(
            *(random_table.build(np.random.default_rng(seed), 1, 30, 6, family)[1] for seed in range(8))
        )
        for family in ("train", "held_out", "held_out_hard")
    }
    assert used["train"].isdisjoint(used["held_out"] | used["held_out_hard"])
    for family in used.values():
        assert {kind.partition(":")[0] for kind in family} == {"object", "texture", "photo"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "kitchen"}, "'kitchen'.*train, held_out, demo, held_out_hard"),
        ({"family": "demo", "objects": 7}, "objects is 7.*1 to 6"),
        ({"family": "demo", "frames": 301}, "frames is 301.*300"),
    ],
)
def test_what_it_cannot_draw_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        sample_scene(0, **arguments)


def test_a_machine_that_cannot_render_is_told_what_to_install():
    code = "from sam2_core.scenes.tabletop import sample_scene; sample_scene(0, 1, (48, 64))"
    environment = {**os.environ, "MUJOCO_GL": "egl", "MUJOCO_EGL_DEVICE_ID": "9999"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.returncode
    last_line = result.stderr.strip().splitlines()[-1]
    assert "RenderingUnavailableError" in last_line
    assert "apt-get install libosmesa6" in last_line
