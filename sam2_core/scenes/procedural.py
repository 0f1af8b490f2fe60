"""2D scenes: textured things that move, deform, occlude each other, leave and come back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sam2_core.scenes import plain_scenes, varied_scenes
from sam2_core.scenes.scene import Scene
from sam2_core.scenes.stage import film

_DIRECTORS = {
    "train": (varied_scenes.direct, "train"),
    "held_out": (plain_scenes.direct, "held_out"),
    "held_out_hard": (varied_scenes.direct, "held_out_hard"),
    "plain": (plain_scenes.direct, "train"),
}
"""Who draws a family, and as what. Its place is part of the seed: new ones come last."""
FAMILIES = tuple(_DIRECTORS)


def sample_scene(
    seed: int, frames: int = 8, size: tuple[int, int] = (256, 256), family: str = "train"
) -> Scene:
    """Draw a clip of `frames` frames of `size` (height, width): a pure function of its arguments.

    Some objects are out of view on some frames, and an object may never be seen at all; occluders and the
    shapes painted on the ground have no label, and some look-alikes of objects have none either.

    "train" and "held_out_hard" are drawn by `varied_scenes`, "plain" and "held_out" by the simpler
    `plain_scenes`; "train" and "plain" are there to be trained on. Both held-out families use shapes,
    textures, photographs and ways of moving that those two never do (`shapes.KINDS`, `textures.KINDS`,
    `textures.PHOTOGRAPHS`, `courses.KINDS`).

    Raises:
        ValueError: `family` is none of FAMILIES.
    """
    if family not in FAMILIES:
        raise ValueError(f"family is {family!r}; allowed: {', '.join(FAMILIES)}")
    rng = np.random.default_rng([seed, FAMILIES.index(family)])
    direct, drawn_as = _DIRECTORS[family]
    stage = direct(rng, frames, size, drawn_as)
    images, segments = film(stage, size)

    numbers = stage.segments()
    owners = np.array([0, *(label for label, _ in numbers)], np.uint8)
    labelled = sorted((thing.label, thing.name) for thing in stage.things if thing.label)
    scene = Scene(images, owners[segments], tuple(name for _, name in labelled), kinds=stage.kinds)
    if len(numbers) == len(labelled):
        return scene
    return replace(scene, parts=segments, owners=tuple(owners[1:].tolist()))
