"""2D scenes: textured shapes that move, deform, occlude each other, leave and come back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sam2_core.scenes.arrays import Affine, Image, as_image
from sam2_core.scenes.motion import Path, excursion, wander
from sam2_core.scenes.scene import Scene
from sam2_core.scenes.sensor import Sensor
from sam2_core.scenes.sprites import Sprite, draw, draw_shadow, paint_sprite
from sam2_core.scenes.textures import Texture, sample_texture

Point = tuple[float, float]  # x, y in pixels

FAMILIES = ("train", "held_out")
MARGIN = 0.35  # how much of the ground, in frame sizes, lies outside the first view on every side


@dataclass(frozen=True)
class Motion:
    """A similarity with a squeeze over T frames, float64.

    `place` [T, 2] in pixels; `angle` [T] in radians; `scale` [T]; `squeeze` [T], of the thing's own y axis.
    """

    place: Path
    angle: Path
    scale: Path
    squeeze: Path

    def matrix(self, frame: int) -> npt.NDArray[np.float64]:
        """The map [3, 3] from coordinates around the thing's centre to those around its parent's centre."""
        cosine, sine = np.cos(self.angle[frame]), np.sin(self.angle[frame])
        turn = self.scale[frame] * np.array([[cosine, -sine], [sine, cosine]])
        result = np.eye(3)
        result[:2, :2] = turn @ np.diag([1.0, self.squeeze[frame]])
        result[:2, 2] = self.place[frame]
        return result


@dataclass(frozen=True)
class Part:
    """A sprite and how it moves relative to the thing that it belongs to."""

    sprite: Sprite
    motion: Motion


@dataclass(frozen=True)
class Thing:
    """What moves as one and has one label: its parts from back to front. Label 0 is an occluder."""

    label: int
    parts: tuple[Part, ...]
    motion: Motion
    shadow: npt.NDArray[np.float64] | None  # offset of the shadow in pixels [2]


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
    still = Motion(np.zeros((frames, 2)), np.zeros(frames), np.ones(frames), np.ones(frames))
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
        swing = wander(rng, frames, rng.choice([0, 0.1]))[:, 0]
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
    things = [
        Thing(
            int(label) + 1,
            _sample_parts(rng, textures, float(areas[label]), frames, family),
            _sample_motion(rng, frames, size, pace),
            lamp,
        )
        for label in order
    ]
    for _ in range(int(rng.choice(3, p=[0.5, 0.35, 0.15]))):
        area = float(rng.uniform(0.02, 0.12)) * unit_area
        occluder = Thing(
            0,
            _sample_parts(rng, textures, area, frames, family),
            _sample_motion(rng, frames, size, pace),
            lamp,
        )
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


def _centred(matrix: Affine, source: Point, target: Point) -> Affine:
    """Turn a map between coordinates around two centres into one between the pixels of the two images."""
    result = matrix[:2].copy()
    result[:, 2] += np.array(target) - matrix[:2, :2] @ np.array(source)
    return result


def sample_scene(
    seed: int, frames: int = 8, size: tuple[int, int] = (256, 256), family: str = "train"
) -> Scene:
    """Draw a clip of `frames` frames of `size` (height, width): a pure function of its arguments.

    Two to five labelled objects cover 1 % to 40 % of the view each before occlusion; occluders and the shapes
    painted on the ground have no label. Some objects are out of view on some frames, and an object may never
    be seen at all. "held_out" uses shapes, textures and photographs that "train" never does (`shapes.KINDS`,
    `textures.KINDS`, `textures.PHOTOGRAPHS`).

    Raises:
        ValueError: `family` is none of FAMILIES.
    """
    if family not in FAMILIES:
        raise ValueError(f"family is {family!r}; allowed: {', '.join(FAMILIES)}")
    rng = np.random.default_rng([seed, FAMILIES.index(family)])
    height, width = size
    ground, kinds = _paint_ground(rng, size, family)
    camera = _sample_camera(rng, frames, size)
    things = _sample_things(rng, frames, size, family)
    sensor = Sensor.sample(rng, frames, size)
    view_centre = ((width - 1) / 2, (height - 1) / 2)
    ground_centre = ((ground.shape[1] - 1) / 2, (ground.shape[0] - 1) / 2)
    softness = max(3.0, 0.02 * width)

    images = np.empty((frames, height, width, 3), np.uint8)
    labels = np.zeros((frames, height, width), np.uint8)
    for index in range(frames):
        view = camera.matrix(index)
        to_view = _centred(view, ground_centre, view_centre)
        image = as_image(cv2.warpAffine(ground, to_view, (width, height), borderMode=cv2.BORDER_REFLECT_101))
        for thing in things:
            pose = view @ thing.motion.matrix(index)
            placed = [
                (part.sprite, _centred(pose @ part.motion.matrix(index), part.sprite.centre, view_centre))
                for part in thing.parts
            ]
            if thing.shadow is not None:
                for sprite, matrix in placed:
                    shifted = matrix + np.pad(thing.shadow[:, None], ((0, 0), (2, 0)))
                    draw_shadow(sprite, shifted, image, softness, darkness=0.4)
            for sprite, matrix in placed:
                draw(sprite, matrix, image, labels[index], thing.label)
        images[index] = sensor.expose(image, index)

    objects = sorted((thing for thing in things if thing.label), key=lambda thing: thing.label)
    parts = [part.sprite for thing in things for part in thing.parts]
    names = tuple("+".join(part.sprite.kind for part in thing.parts) for thing in objects)
    return Scene(images, labels, names, kinds=frozenset(kinds).union(*(part.kinds for part in parts)))
