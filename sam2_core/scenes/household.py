"""Everyday objects for the tabletop scenes: kinds of bodies made of turned, swept and boxed meshes.

Every object stands on z = 0 around the z axis, measures are metres, and its parts name the surface that they
wear: 0 is the main one, 1 the accent (a handle, a lid).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sam2_core.scenes.meshes import Mesh, Points, cuboid, revolve, sweep


@dataclass(frozen=True)
class Part:
    """A mesh and the number of the surface that it wears."""

    mesh: Mesh
    surface: int


@dataclass(frozen=True)
class Solid:
    """An object: its `kind`, its parts, and its extent in metres (`radius` around z, `height`)."""

    kind: str
    parts: tuple[Part, ...]

    @property
    def radius(self) -> float:
        return max(float(np.linalg.norm(part.mesh.vertices[:, :2], axis=1).max()) for part in self.parts)

    @property
    def height(self) -> float:
        return max(float(part.mesh.vertices[:, 2].max()) for part in self.parts)


def _bend(
    start: tuple[float, float], middle: tuple[float, float], end: tuple[float, float], points: int
) -> Points:
    """A quadratic Bezier curve [points, 3] in the plane y = 0, through (x, z) control points."""
    t = np.linspace(0, 1, points)[:, None]
    curve = (1 - t) ** 2 * np.array(start) + 2 * t * (1 - t) * np.array(middle) + t**2 * np.array(end)
    return np.insert(curve, 1, 0.0, axis=1)


def _rounded_ends(points: int, radius: float) -> Points:
    """Radii [points] of a tube that is closed and round at both ends."""
    x = np.linspace(-1, 1, points)
    return np.asarray(radius * np.sqrt(np.maximum(1 - x**6, 0)))


def _handle(x: float, low: float, high: float, reach: float, radius: float) -> Mesh:
    """A loop at radius x from height `low` to `high`."""
    t = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 16)
    path = np.stack([x + reach * np.cos(t), 0 * t, (low + high) / 2 + (high - low) / 2 * np.sin(t)], -1)
    return sweep(path, np.full(16, radius), sides=10)


def _walls(outer: Points, thickness: float) -> Points:
    """The profile of a vessel: up the outer wall [n, 2] (radius, height), and down inside it."""
    inner = np.maximum(outer - [thickness, 0], 0)
    inner[:, 1] = np.maximum(inner[:, 1], outer[0, 1] + thickness)
    return np.concatenate([[[0, outer[0, 1]]], outer, inner[::-1], [[0, outer[0, 1] + thickness]]])


def _mug(rng: np.random.Generator) -> list[Part]:
    r, h = rng.uniform(0.035, 0.05), rng.uniform(0.08, 0.11)
    wall = np.array([[r * rng.uniform(0.85, 1), 0], [r, 0.2 * h], [r, h]])
    handle = _handle(r * 0.97, 0.2 * h, 0.8 * h, 0.7 * r, 0.006)
    return [Part(revolve(_walls(wall, 0.004)), 0), Part(handle, int(rng.integers(2)))]


def _cup(rng: np.random.Generator) -> list[Part]:
    r, h = rng.uniform(0.035, 0.05), rng.uniform(0.08, 0.14)
    return [Part(revolve(_walls(np.array([[0.7 * r, 0], [r, h]]), 0.003)), 0)]


def _bottle(rng: np.random.Generator) -> list[Part]:
    r, h, neck = rng.uniform(0.03, 0.042), rng.uniform(0.17, 0.24), rng.uniform(0.010, 0.016)
    shoulder = rng.uniform(0.55, 0.7) * h
    t = np.linspace(0, np.pi, 10)
    slope = np.stack([neck + (r - neck) * (1 + np.cos(t)) / 2, shoulder + t / np.pi * 0.2 * h], -1)
    body = np.concatenate([[[0, 0], [0.9 * r, 0], [r, 0.01]], slope, [[neck, h], [0, h]]])
    cap = [(0, h - 0.02), (neck + 0.003, h - 0.02), (neck + 0.003, h + 0.004), (0, h + 0.004)]
    return [Part(revolve(body), 0), Part(revolve(cap, 20), 1)]


def _box(rng: np.random.Generator) -> list[Part]:
    return [Part(cuboid(rng.uniform(0.06, 0.16), rng.uniform(0.04, 0.1), rng.uniform(0.05, 0.2)), 0)]


def _bowl(rng: np.random.Generator) -> list[Part]:
    r, h = rng.uniform(0.06, 0.09), rng.uniform(0.04, 0.07)
    t = np.linspace(0.25, 1, 10) * np.pi / 2
    return [Part(revolve(_walls(np.stack([r * np.sin(t), h * (np.cos(t[0]) - np.cos(t))], -1), 0.005)), 0)]


def _plate(rng: np.random.Generator) -> list[Part]:
    r = rng.uniform(0.08, 0.12)
    return [Part(revolve(_walls(np.array([[0.55 * r, 0], [0.65 * r, 0.008], [r, 0.02]]), 0.006)), 0)]


def _can(rng: np.random.Generator) -> list[Part]:
    r, h = rng.uniform(0.03, 0.045), rng.uniform(0.06, 0.13)
    lid = [
        (0, h - 0.002),
        (0.9 * r, h - 0.002),
        (0.92 * r, h + 0.003),
        (0.86 * r, h + 0.003),
        (0.84 * r, h),
        (0, h),
    ]
    return [
        Part(revolve([(0, 0), (0.9 * r, 0), (r, 0.005), (r, h - 0.005), (0.9 * r, h), (0, h)]), 0),
        Part(revolve(lid), 1),
    ]


def _ball(rng: np.random.Generator) -> list[Part]:
    r = rng.uniform(0.03, 0.06)
    t = np.linspace(0, np.pi, 20)
    return [Part(revolve(np.stack([r * np.sin(t), r - r * np.cos(t)], -1)), 0)]


def _banana(rng: np.random.Generator) -> list[Part]:
    length, sag = rng.uniform(0.14, 0.2), rng.uniform(0.03, 0.09)
    curve = _bend((-length / 2, sag), (0, -sag), (length / 2, sag), 24)
    r = rng.uniform(0.014, 0.02)
    curve[:, 2] += r - curve[:, 2].min()
    return [Part(sweep(curve, _rounded_ends(24, r)), 0)]


def _jar(rng: np.random.Generator) -> list[Part]:
    r, h = rng.uniform(0.035, 0.05), rng.uniform(0.07, 0.13)
    body = [(0, 0), (0.92 * r, 0), (r, 0.08 * h), (r, 0.82 * h), (0.8 * r, 0.92 * h), (0, 0.92 * h)]
    lid = [(0, 0.88 * h), (0.85 * r, 0.88 * h), (0.85 * r, h), (0, h)]
    return [Part(revolve(body), 0), Part(revolve(lid), 1)]


def _pear(rng: np.random.Generator) -> list[Part]:
    r, h = rng.uniform(0.035, 0.045), rng.uniform(0.08, 0.11)
    t = np.linspace(0, 1, 24)
    radius = r * np.sqrt(np.sin(np.pi * t)) * (1 - 0.65 * t**1.5)
    stalk = sweep(_bend((0, 0.97 * h), (0, 1.1 * h), (0.01, 1.2 * h), 6), np.full(6, 0.002), sides=8)
    return [Part(revolve(np.stack([radius, h * t], -1)), 0), Part(stalk, 1)]


def _goblet(rng: np.random.Generator) -> list[Part]:
    r, h = rng.uniform(0.035, 0.045), rng.uniform(0.13, 0.18)
    outer = np.array([[0.9, 0], [0.85, 0.03], [0.12, 0.08], [0.1, 0.45], [0.6, 0.55], [1, 0.75], [0.85, 1]])
    inner = [[0.8 * r, h], [0.94 * r, 0.75 * h], [0.5 * r, 0.58 * h], [0, 0.55 * h]]
    return [Part(revolve(np.concatenate([[[0, 0]], outer * [r, h], inner])), 0)]


def _pan(rng: np.random.Generator) -> list[Part]:
    r, h = rng.uniform(0.07, 0.1), rng.uniform(0.025, 0.04)
    dish = revolve(_walls(np.array([[0.8 * r, 0], [r, h]]), 0.004))
    grip = _bend((0.95 * r, h * 0.8), (1.3 * r, h * 1.3), (2.4 * r, h * 1.6), 12)
    return [Part(dish, 0), Part(sweep(grip, _rounded_ends(12, 0.009)), 1)]


def _hammer(rng: np.random.Generator) -> list[Part]:
    length, r = rng.uniform(0.16, 0.24), rng.uniform(0.009, 0.013)
    shaft = np.linspace([-length / 2, 0, 0.02], [length / 2, 0, 0.02], 10)
    head = cuboid(0.032, rng.uniform(0.08, 0.11), 0.034).moved((length / 2, 0, 0.003))
    return [Part(sweep(shaft, _rounded_ends(10, r)), 0), Part(head, 1)]


def _teapot(rng: np.random.Generator) -> list[Part]:
    r = rng.uniform(0.05, 0.065)
    t = np.linspace(0.2, 0.85, 18) * np.pi
    belly = np.stack([r * np.sin(t), 0.8 * r * (np.cos(t[0]) - np.cos(t))], -1)
    top = float(belly[-1, 1])
    lid = [
        (0, top),
        (0.5 * r, top),
        (0.4 * r, top + 0.008),
        (0.1 * r, top + 0.01),
        (0.12 * r, top + 0.02),
        (0, top + 0.022),
    ]
    spout = _bend((0.8 * r, 0.4 * top), (1.4 * r, 0.5 * top), (1.6 * r, 1.05 * top), 10)
    handle = _handle(-0.85 * r, 0.25 * top, 0.85 * top, -0.8 * r, 0.006)
    body = revolve(np.concatenate([[[0, 0]], belly, [[0, top]]]))
    return [
        Part(body, 0),
        Part(revolve(lid), 1),
        Part(sweep(spout, np.linspace(0.016, 0.008, 10)), 0),
        Part(handle, int(rng.integers(2))),
    ]


def _turned(rng: np.random.Generator) -> list[Part]:
    """Anything from a lathe: a random profile, closed at both ends, sometimes with a loop."""
    r, h, knots = rng.uniform(0.025, 0.06), rng.uniform(0.04, 0.22), int(rng.integers(3, 8))
    t = np.linspace(0, 1, 24)
    radius = r * np.interp(t, np.linspace(0, 1, knots), rng.uniform(0.25, 1, knots))
    radius = np.convolve(np.pad(radius, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    body = np.concatenate([[[0, 0]], np.stack([radius, h * t], -1), [[0, h]]])
    loop = _handle(float(radius[12]) * 0.9, 0.3 * h, 0.7 * h, 0.8 * r, 0.005)
    return [Part(revolve(body), 0), *([Part(loop, 1)] if rng.random() < 0.4 else [])]


def _stacked(rng: np.random.Generator) -> list[Part]:
    """Two to four boxes, cylinders and balls on top of each other, in two surfaces: toys, machines, lamps."""
    parts, top = [], 0.0
    for _ in range(int(rng.integers(2, 5))):
        width, height = rng.uniform(0.02, 0.1), rng.uniform(0.015, 0.07)
        kind = rng.choice(["box", "cylinder", "ball"])
        if kind == "box":
            mesh = cuboid(width, rng.uniform(0.02, 0.1), height)
        elif kind == "cylinder":
            mesh = revolve([(0, 0), (width / 2, 0), (width / 2, height), (0, height)])
        else:
            t = np.linspace(0, np.pi, 16)
            mesh = revolve(np.stack([width / 2 * np.sin(t), height * (1 - np.cos(t)) / 2], -1))
        parts.append(Part(mesh.moved((*rng.normal(0, 0.008, 2), top)), int(rng.integers(2))))
        top += 0.95 * height
    return parts


_BUILDERS: dict[str, Callable[[np.random.Generator], list[Part]]] = {
    "mug": _mug,
    "cup": _cup,
    "bottle": _bottle,
    "box": _box,
    "bowl": _bowl,
    "plate": _plate,
    "can": _can,
    "ball": _ball,
    "banana": _banana,
    "jar": _jar,
    "turned": _turned,
    "stacked": _stacked,
    "pear": _pear,
    "goblet": _goblet,
    "pan": _pan,
    "hammer": _hammer,
    "teapot": _teapot,
}

# Kinds of objects of each family.
KINDS = {
    "train": (
        *("mug", "cup", "bottle", "box", "bowl", "plate", "can", "ball", "banana", "jar"),
        *("turned", "turned", "stacked", "stacked"),  # twice as often: each time another shape
    ),
    "held_out": ("pear", "goblet", "pan", "hammer", "teapot"),
}


def build(kind: str, rng: np.random.Generator) -> Solid:
    """An object of a kind out of KINDS, its measures drawn from `rng`."""
    return Solid(kind, tuple(_BUILDERS[kind](rng)))


def gripper(opening: float) -> Solid:
    """A two-finger gripper that points down, fingertips at z = 0: surface 0 is the hand, 1 the fingers."""
    fingers = [cuboid(0.012, 0.024, 0.09).moved((side * (opening / 2 + 0.006), 0, 0)) for side in (-1, 1)]
    palm = cuboid(0.15, 0.05, 0.035).moved((0, 0, 0.09))
    wrist = revolve([(0, 0.12), (0.035, 0.12), (0.038, 0.2), (0.03, 0.21), (0.03, 0.7), (0, 0.7)])
    return Solid("gripper", (*(Part(finger, 1) for finger in fingers), Part(palm, 0), Part(wrist, 0)))
