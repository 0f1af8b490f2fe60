"""The disk cache of rendered scenes, and the held-out list that is read through it."""

import numpy as np
import pytest

from sam2_core.scenes import Scene, cache, held_out, tabletop
from sam2_core.scenes.procedural import sample_scene


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache.cache_folder()


class Renderer:
    """Renders a small scene and counts how often."""

    def __init__(self):
        self.runs = 0

    def __call__(self):
        self.runs += 1
        return sample_scene(5, frames=3, size=(48, 64))


def assert_same(first, second):
    assert first.names == second.names
    assert first.kinds == second.kinds
    np.testing.assert_array_equal(first.frames, second.frames)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.owners == second.owners
    assert (first.parts is None) == (second.parts is None)
    if first.parts is not None:
        np.testing.assert_array_equal(first.parts, second.parts)


def test_a_scene_is_rendered_once_and_read_back_equal():
    render = Renderer()
    first = cache.load_or_render(Scene, {"seed": 5}, render)
    second = cache.load_or_render(Scene, {"seed": 5}, render)
    assert render.runs == 1
    assert_same(first, sample_scene(5, frames=3, size=(48, 64)))
    assert_same(first, second)
    assert second.depth is None


def test_another_key_is_another_scene():
    render = Renderer()
    cache.load_or_render(Scene, {"seed": 5}, render)
    cache.load_or_render(Scene, {"seed": 6}, render)
    assert render.runs == 2


@pytest.mark.parametrize("name", ["frames.npy", "labels.npy", "scene.json"])
@pytest.mark.parametrize("left", [0, 50, -1])
def test_a_truncated_file_is_rendered_again(cache_folder, name, left):
    render = Renderer()
    expected = cache.load_or_render(Scene, {}, render)
    path = next(cache_folder.glob(f"*/{name}"))
    content = path.read_bytes()
    path.unlink()  # not written in place: the scene above still maps the old file
    path.write_bytes(content[:left])
    assert_same(cache.load_or_render(Scene, {}, render), expected)
    assert render.runs == 2


def test_a_missing_array_is_rendered_again(cache_folder):
    render = Renderer()
    cache.load_or_render(Scene, {}, render)
    next(cache_folder.glob("*/labels.npy")).unlink()
    cache.load_or_render(Scene, {}, render)
    assert render.runs == 2


def test_nothing_half_written_stays_behind(cache_folder):
    def fail():
        raise RuntimeError("no picture")

    with pytest.raises(RuntimeError, match="no picture"):
        cache.load_or_render(Scene, {}, fail)
    cache.load_or_render(Scene, {}, Renderer())
    assert len(list(cache_folder.iterdir())) == 1


def test_a_tabletop_scene_keeps_depth_and_camera():
    arguments = (2, 2, (48, 64), "train", 10.0)
    first, second = (tabletop.load_scene(*arguments) for _ in range(2))
    assert_same(first, tabletop.sample_scene(*arguments))
    assert_same(first, second)
    np.testing.assert_array_equal(first.depth, second.depth)
    np.testing.assert_array_equal(first.intrinsics, second.intrinsics)
    assert second.fps == 10.0


def test_parts_are_kept():
    scene = next(
        scene
        for scene in (sample_scene(seed, frames=1, size=(48, 48)) for seed in range(20))
        if scene.parts is not None
    )
    assert_same(cache.load_or_render(Scene, {}, lambda: scene), scene)


def test_the_hard_scenes_are_of_the_hard_families():
    names = {spec.name for spec in held_out.SCENES + held_out.HARD_SCENES}
    assert len(names) == len(held_out.SCENES) + len(held_out.HARD_SCENES)
    spec = held_out.HARD_SCENES[0]
    expected = sample_scene(spec.seed, spec.frames, held_out.SIZE, "held_out_hard")
    assert_same(held_out.load(spec), expected)


def test_held_out_scenes_are_many_unique_and_reproducible():
    assert len({spec.name for spec in held_out.SCENES}) == len(held_out.SCENES) == 20
    spec = held_out.SCENES[0]
    scene = held_out.load(spec)
    assert scene.frames.shape == (spec.frames, *held_out.SIZE, 3)
    assert_same(scene, sample_scene(spec.seed, spec.frames, held_out.SIZE, "held_out"))
