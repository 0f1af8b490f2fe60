"""The first 2D scenes: two to five textured shapes that move, occlude each other, leave and come back.

The published held-out scenes are drawn here (`procedural.sample_scene`, family "held_out"). They must not
change: neither may the order of the draws, nor what any of them gives.
"""

from __future__ import annotations

import numpy as np

from sam2_core.scenes.arrays import Image
from sam2_core.scenes.motion import excursion, wander
from sam2_core.scenes.sensor import Sensor
from sam2_core.scenes.sprites import draw, paint_sprite
from sam2_core.scenes.stage import MARGIN, Motion, Part, Stage, Thing
from sam2_core.scenes.textures import Texture, sample_texture


def _sample_motion(rng: np.random.Generator, frames: int, size: tuple[int, int], pace: float) -> Motion:
    unit = float(np.sqrt(size[0] * size[1]))
    place = rng.uniform(-0.42, 0.42, 2) * size[::-1] + wander(rng, frames, 0.02 * unit * pace, 2)
    if rng.random() < 0.2:
        heading = rng.uniform(0, 2 * np.pi)
        away = np.array([np.cos(heading), np.sin(heading)]) * unit * rng.uniform(0.6, 1.3)
        place = place + excursion(rng, frames)[:, None] * away
    flip = rng.random() < 0.2  # some things turn away from the camera and become thin
    return Motion(
        place=place,
        angle=rng.uniform(0, 2 * np.pi) + wander(rng, frames, 0.06 * pace)[:, 0],
        scale=np.exp(wander(rng, frames, 0.03 * pace)[:, 0]).clip(0.4, 2.0),
        squeeze=np.exp(-np.abs(wander(rng, frames, (0.15 if flip else 0.03) * pace)[:, 0])).clip(0.25, 1),
    )


def _sample_parts(
    rng: np.random.Generator, textures: list[Texture], area: float, frames: int, family: str
) -> tuple[Part, ...]:
    """A body, in three cases of ten with limbs in textures of their own that may swing about it."""
    still = Motion.still(frames)
    limbs = int(rng.integers(1, 4)) if rng.random() < 0.3 else 0
    body_area = area / (1 + 0.3 * limbs)
    body = Part(paint_sprite(rng, textures[rng.integers(len(textures))], body_area, family), still)
    front: list[Part] = []
    back: list[Part] = []
    for _ in range(limbs):
        texture = textures[rng.integers(len(textures))]
        sprite = paint_sprite(rng, texture, body_area * rng.uniform(0.15, 0.6), family)
        heading = rng.uniform(0, 2 * np.pi)
        joint = np.array([np.cos(heading), np.sin(heading)]) * body_area**0.5 * rng.uniform(0.2, 0.5)
        swing = wander(rng, frames, float(rng.choice([0.0, 0.1])))[:, 0]
        place = np.tile(joint, (frames, 1)) + wander(rng, frames, 0.004 * area**0.5, 2)
        angle = rng.uniform(0, 2 * np.pi) + swing
        limb = Part(sprite, Motion(place, angle, np.ones(frames), np.ones(frames)))
        (front if rng.random() < 0.5 else back).append(limb)
    return (*back, body, *front)


def _sample_things(rng: np.random.Generator, frames: int, size: tuple[int, int], family: str) -> list[Thing]:
    """Two to five objects and up to two occluders, from back to front."""
    textures = [sample_texture(rng, family) for _ in range(int(rng.integers(2, 7)))]
    unit_area = size[0] * size[1]
    count = int(rng.integers(2, 6))
    pace = float(rng.choice([0.2, 0.6, 1.0, 1.6]))
    lamp = rng.normal(0, 0.02 * unit_area**0.5, 2) if rng.random() < 0.6 else None
    areas = np.sort(np.exp(rng.uniform(np.log(0.01), np.log(0.4), count)))[::-1] * unit_area
    order = np.argsort(-np.log(areas) + rng.normal(0, 0.7, count))  # small things are in front more often

    def thing(label: int, area: float) -> Thing:
        parts = _sample_parts(rng, textures, area, frames, family)
        name = "+".join(part.sprite.kind for part in parts)
        return Thing(name, label, parts, _sample_motion(rng, frames, size, pace), lamp)

    things = [thing(int(label) + 1, float(areas[label])) for label in order]
    for _ in range(int(rng.choice(3, p=[0.5, 0.35, 0.15]))):
        occluder = thing(0, float(rng.uniform(0.02, 0.12)) * unit_area)
        things.insert(int(rng.integers(1, len(things) + 1)), occluder)
    return things


def _paint_ground(rng: np.random.Generator, size: tuple[int, int], family: str) -> tuple[Image, set[str]]:
    """The background, larger than the view by MARGIN on every side, with still shapes painted on it."""
    height, width = (round(side * (1 + 2 * MARGIN)) for side in size)
    texture = sample_texture(rng, family)
    ground = texture.cut(rng, (height, width), zoom=(0.7, 2.0))
    kinds = set(texture.kinds)
    for _ in range(int(rng.choice([0, 0, 2, 6, 12]))):
        area = np.exp(rng.uniform(np.log(0.003), np.log(0.1))) * size[0] * size[1]
        paint = sample_texture(rng, family) if rng.random() < 0.5 else texture
        clutter = paint_sprite(rng, paint, area, family)
        place = rng.uniform(0, 1, 2) * (width, height) - clutter.centre[0]
        matrix = np.array([[1, 0, place[0]], [0, 1, place[1]]])
        draw(clutter, matrix, ground, ground[..., 0])
        kinds |= clutter.kinds
    return ground, kinds


def _sample_camera(rng: np.random.Generator, frames: int, size: tuple[int, int]) -> Motion:
    """How the world moves in the view: pan, zoom and roll, in one scene of three not at all."""
    pace = float(rng.choice([0.0, 0.5, 1.2]))
    unit = float(np.sqrt(size[0] * size[1]))
    return Motion(
        place=wander(rng, frames, 0.01 * pace * unit, 2).clip(-0.25 * unit, 0.25 * unit),
        angle=wander(rng, frames, 0.01 * pace)[:, 0].clip(-0.15, 0.15),
        scale=np.exp(wander(rng, frames, 0.01 * pace)[:, 0]).clip(0.9, 1.4),
        squeeze=np.ones(frames),
    )


def direct(rng: np.random.Generator, frames: int, size: tuple[int, int], family: str) -> Stage:
    """Draw the stage of a scene of a family of `shapes.KINDS` and `textures.KINDS`."""
    ground, kinds = _paint_ground(rng, size, family)
    camera = _sample_camera(rng, frames, size)
    things = _sample_things(rng, frames, size, family)
    sensor = Sensor.sample(rng, frames, size)
    sprites = [part.sprite for thing in things for part in thing.parts]
    kinds = kinds.union(*(sprite.kinds for sprite in sprites))
    return Stage(ground, tuple(things), camera, sensor, 0.0, frozenset(kinds))
