"""Jointed figures of the 2D scenes: what walks on two legs or four, and what crawls."""

from __future__ import annotations

import cv2
import numpy as np

from sam2_core.scenes.arrays import as_field
from sam2_core.scenes.motion import Path, wander
from sam2_core.scenes.shapes import Contour
from sam2_core.scenes.sprites import Sprite, fill, shade
from sam2_core.scenes.stage import Motion, Part
from sam2_core.scenes.textures import Texture


def _capsule(length: float, start: float, end: float) -> Contour:
    """A limb along x from its joint at the origin, with round ends of these radii."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], -1)
    points = np.concatenate([circle * start, circle * end + [length, 0]]).astype(np.float32)
    return np.asarray(cv2.convexHull(points)[:, 0], np.float64)


class _Skeleton:
    """Collects the limbs of a figure, each hung on another one's motion."""

    def __init__(self, rng: np.random.Generator, kind: str, frames: int, unit: float) -> None:
        self.rng, self.kind, self.frames, self.unit = rng, kind, frames, unit
        self.limbs: list[tuple[int, Part]] = []  # depth, limb

    def parts(self) -> tuple[Part, ...]:
        """The limbs from back to front."""
        return tuple(limb for _, limb in sorted(self.limbs, key=lambda item: item[0]))

    def hang(
        self,
        parent: Motion,
        joint: tuple[float, float],
        angle: Path,
        contour: Contour,
        texture: Texture,
        segment: int,
        depth: int,
    ) -> Motion:
        """Put a limb at a joint of its parent, in units of the figure, at an angle [T] to it."""
        shape = [contour * self.unit]
        side = 2 * int(np.ceil(np.abs(shape[0]).max())) + 4
        mask = np.zeros((side, side), np.uint8)
        fill(mask, shape, 255)
        alpha = as_field(mask) * np.float32(1 / 255)
        image = shade(self.rng, texture.cut(self.rng, (side, side), (0.4, 2.0)), alpha)
        sprite = Sprite(image, alpha, self.kind, texture.kinds | {f"shape:{self.kind}"})
        cosine, sine = np.cos(parent.angle), np.sin(parent.angle)
        x, y = np.array(joint) * self.unit
        place = parent.place + np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1)
        motion = Motion(place, parent.angle + angle, np.ones(self.frames), np.ones(self.frames))
        self.limbs.append((depth, Part(sprite, motion, segment)))
        return motion


def figure(
    rng: np.random.Generator, seed: int, clothes: list[Texture], area: float, frames: int
) -> tuple[Part, ...]:
    """Something with a trunk, a head and pairs of jointed limbs that swing as in walking; y is down.

    Its parts are the head, the trunk and every limb as a whole.
    """
    look = np.random.default_rng([seed, 78])  # what siblings have in common
    upright = bool(look.random() < 0.65)
    girth, legs = look.uniform(0.16, 0.34), look.uniform(0.5, 1.1)
    unit = area**0.5 / (0.55 + girth + 0.25 * legs)
    trunk, skin, sleeves, trousers = (clothes[index] for index in look.integers(len(clothes), size=4))
    phase, stride = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.5)
    wave = phase + stride * np.arange(frames)
    reach = rng.uniform(0.1, 0.8)

    skeleton = _Skeleton(rng, "figure", frames, unit)
    lean = (-np.pi / 2 if upright else 0.0) + wander(rng, frames, 0.01)[:, 0]
    root = Motion(np.zeros((frames, 2)), lean + rng.normal(0, 0.1), np.ones(frames), np.ones(frames))
    body = _capsule(1.0, girth * look.uniform(0.8, 1.2), girth) - [0.5, 0]
    spine = skeleton.hang(root, (0, 0), np.zeros(frames), body, trunk, 0, depth=0)

    nod = look.uniform(-0.6, 0.2) * (not upright) + wander(rng, frames, 0.04)[:, 0]
    neck = _capsule(look.uniform(0.25, 0.45), 0.09, look.uniform(0.16, 0.26))
    skeleton.hang(spine, (0.5, 0), nod, neck, skin, 1, depth=1)

    side = 0.0 if upright else np.pi / 2  # legs hang down: back along an upright trunk, across a level one
    for index, sign in enumerate((1, -1)):
        swing = sign * reach * np.sin(wave)
        bent = np.abs(reach * np.sin(wave + 0.8)) * (1 if upright else -1)
        depth = -1 if sign > 0 else 1
        hip = (-0.5, 0.08 * sign) if upright else (-0.45, 0.1)
        start = np.pi - side + swing
        _leg(skeleton, spine, hip, start, bent, legs, (trousers, skin), 2 + index, depth)
        shoulder = (0.45, 0.12 * sign) if upright else (0.4, 0.1)
        opposite = np.pi - side - swing * (1 if upright else -1) + rng.normal(0, 0.3 if upright else 0.05)
        pair = (sleeves, skin) if upright else (trousers, skin)
        _leg(
            skeleton,
            spine,
            shoulder,
            opposite,
            -bent,
            0.8 * legs if upright else legs,
            pair,
            4 + index,
            depth,
        )
    if not upright:
        wag = np.pi + 0.5 + 0.5 * np.sin(3 * wave)
        tail = _capsule(look.uniform(0.2, 0.7), 0.06, 0.03)
        skeleton.hang(spine, (-0.5, 0), wag, tail, trunk, 6, depth=-1)
    return skeleton.parts()


def _leg(
    skeleton: _Skeleton,
    spine: Motion,
    joint: tuple[float, float],
    angle: Path,
    knee: Path,
    length: float,
    clothes: tuple[Texture, Texture],
    segment: int,
    depth: int,
) -> None:
    """An upper and a lower half."""
    half = length / 2
    thigh = skeleton.hang(spine, joint, angle, _capsule(half, 0.13, 0.1), clothes[0], segment, depth)
    skeleton.hang(thigh, (half, 0), knee, _capsule(half, 0.1, 0.06), clothes[1], segment, depth)


def chain(
    rng: np.random.Generator, seed: int, clothes: list[Texture], area: float, frames: int
) -> tuple[Part, ...]:
    """A row of segments through which a wave travels; its parts are the halves."""
    look = np.random.default_rng([seed, 79])  # what siblings have in common
    count, girth = int(look.integers(4, 9)), look.uniform(0.3, 0.7)
    unit = (area / (count * 2 * girth)) ** 0.5
    speed, wind = rng.uniform(0.05, 0.4), rng.uniform(0.1, 0.5)
    skeleton = _Skeleton(rng, "chain", frames, unit)
    parent = Motion.still(frames)
    for index in range(count):
        angle = wind * np.sin(speed * np.arange(frames) - 0.9 * index)
        joint = (1.0, 0.0) if index else (-count / 2, 0.0)
        radius = girth * (1 - 0.5 * index / count)
        texture = clothes[index % len(clothes)]
        parent = skeleton.hang(
            parent, joint, angle, _capsule(1.0, radius, 0.9 * radius), texture, 2 * index // count, -index
        )
    return skeleton.parts()
