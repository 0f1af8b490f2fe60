"""What a 2D scene is made of, and how it is filmed: sprites in motion over a ground, seen by a camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sam2_core.scenes.arrays import Affine, Image, as_image
from sam2_core.scenes.motion import Path
from sam2_core.scenes.sensor import Sensor
from sam2_core.scenes.sprites import LEAST_SMEAR, Bend, Sprite, draw, draw_shadow, smear_reach, smeared

Point = tuple[float, float]  # x, y in pixels
Poses = npt.NDArray[np.float64]  # [T, 2, 3], maps pixels (x, y) of a sprite to pixels of each frame

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

    @staticmethod
    def still(frames: int) -> Motion:
        """No motion at all."""
        return Motion(np.zeros((frames, 2)), np.zeros(frames), np.ones(frames), np.ones(frames))

    def matrices(self) -> npt.NDArray[np.float64]:
        """The maps [T, 3, 3] from coordinates around the thing's centre to those around its parent's."""
        cosine, sine = self.scale * np.cos(self.angle), self.scale * np.sin(self.angle)
        result = np.zeros((len(self.angle), 3, 3))
        result[:, 0, 0], result[:, 0, 1] = cosine, -sine * self.squeeze
        result[:, 1, 0], result[:, 1, 1] = sine, cosine * self.squeeze
        result[:, :2, 2], result[:, 2, 2] = self.place, 1.0
        return result


@dataclass(frozen=True)
class Part:
    """A sprite, how it moves relative to the thing that it belongs to, and how it deforms.

    Those of a thing with the same `segment` (from 0) are one part of it for who asks for parts.
    """

    sprite: Sprite
    motion: Motion
    segment: int = 0
    bend: Bend | None = None


@dataclass(frozen=True)
class Thing:
    """What moves as one and has one label: its parts from back to front. Label 0 is no object."""

    name: str
    label: int
    parts: tuple[Part, ...]
    motion: Motion
    shadow: npt.NDArray[np.float64] | None  # offset of the shadow in pixels [2]


@dataclass(frozen=True)
class Stage:
    """All that is filmed: the ground (MARGIN larger than the view on every side), the things from back to
    front, how the world moves in the view, the sensor, and the share of a frame's time that the shutter is
    open. `kinds` is what the scene is made of (see `Scene`)."""

    ground: Image
    things: tuple[Thing, ...]
    camera: Motion
    sensor: Sensor
    shutter: float
    kinds: frozenset[str]

    def segments(self) -> dict[tuple[int, int], int]:
        """A number from 1 for every (label, segment) of the labelled things, in this order."""
        labelled = [thing for thing in self.things if thing.label]
        keys = sorted({(thing.label, part.segment) for thing in labelled for part in thing.parts})
        return {key: number for number, key in enumerate(keys, start=1)}


def _centred(matrices: npt.NDArray[np.float64], source: Point, target: Point) -> Poses:
    """Turn maps [T, 3, 3] of coordinates around two centres into maps of the pixels of the two images."""
    result = matrices[:, :2].copy()
    result[..., 2] += np.array(target) - matrices[:, :2, :2] @ np.array(source)
    return result


def _smears(poses: Poses, shutter: float) -> Poses:
    """How much each pose changes while the shutter is open around it."""
    if shutter == 0 or len(poses) == 1:
        return np.zeros_like(poses)
    return np.gradient(poses, axis=0) * shutter


def _film_ground(ground: Image, pose: Affine, smear: Affine, size: tuple[int, int]) -> Image:
    height, width = size
    low, high = ((share * ground.shape[1], share * ground.shape[0]) for share in (MARGIN, 1 - MARGIN))
    reach = smear_reach(smear, low, high)
    if reach >= LEAST_SMEAR:
        return smeared(
            ground, pose, smear, reach, (slice(0, height), slice(0, width)), cv2.BORDER_REFLECT_101
        )
    return as_image(cv2.warpAffine(ground, pose, (width, height), borderMode=cv2.BORDER_REFLECT_101))


def film(stage: Stage, size: tuple[int, int]) -> tuple[Image, npt.NDArray[np.uint8]]:
    """Frames uint8 [T, H, W, 3] of `size` (height, width), and which of `Stage.segments` shows: [T, H, W].

    A moving thing is smeared over the time that the shutter is open; the segments are those of its middle.
    """
    height, width = size
    frames = len(stage.camera.angle)
    view_centre = ((width - 1) / 2, (height - 1) / 2)
    ground_centre = ((stage.ground.shape[1] - 1) / 2, (stage.ground.shape[0] - 1) / 2)
    softness = max(3.0, 0.02 * width)
    numbers = stage.segments()

    views = stage.camera.matrices()
    ground_poses = _centred(views, ground_centre, view_centre)
    ground_smears = _smears(ground_poses, stage.shutter)
    poses: list[list[tuple[Part, Poses, Poses]]] = []
    for thing in stage.things:
        whole = views @ thing.motion.matrices()
        paths = [
            _centred(whole @ part.motion.matrices(), part.sprite.centre, view_centre) for part in thing.parts
        ]
        smears = [_smears(path, stage.shutter) for path in paths]
        poses.append(list(zip(thing.parts, paths, smears, strict=True)))

    images = np.empty((frames, height, width, 3), np.uint8)
    segments = np.zeros((frames, height, width), np.uint8)
    for index in range(frames):
        image = _film_ground(stage.ground, ground_poses[index], ground_smears[index], size)
        for thing, placed in zip(stage.things, poses, strict=True):
            if thing.shadow is not None:
                for part, path, _ in placed:
                    shifted = path[index].copy()
                    shifted[:, 2] += thing.shadow
                    draw_shadow(part.sprite, shifted, image, softness, darkness=0.4)
            for part, path, part_smears in placed:
                number = numbers.get((thing.label, part.segment), 0)
                bend = None if part.bend is None else part.bend.at(index)
                draw(part.sprite, path[index], image, segments[index], number, part_smears[index], bend)
        images[index] = stage.sensor.expose(image, index)
    return stage.sensor.record(images), segments
