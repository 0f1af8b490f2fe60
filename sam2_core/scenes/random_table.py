"""Tabletop worlds drawn at random, for training and for the held-out score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sam2_core.scenes import household
from sam2_core.scenes.arrays import Image
from sam2_core.scenes.household import Solid
from sam2_core.scenes.motion import Path, absence, excursion, wander
from sam2_core.scenes.poses import turned
from sam2_core.scenes.room import furnish
from sam2_core.scenes.textures import Texture, sample_texture
from sam2_core.scenes.world import Body, Lamp, View, World

SURFACE, ROOM = 160, 384  # pixels on a side of the texture of an object, of a table or a wall


class _Draw:
    """The state of one draw: where the numbers come from, how time runs, and which kinds were used so far."""

    def __init__(self, rng: np.random.Generator, frames: int, fps: float, family: str) -> None:
        self.rng = rng
        self.frames = frames
        self.fps = fps
        self.family = family
        self.pace = float(rng.choice([0.3, 0.8, 1.3]))
        self.kinds: set[str] = set()
        self.textures = [self.texture() for _ in range(int(rng.integers(3, 8)))]

    def texture(self) -> Texture:
        texture = sample_texture(self.rng, self.family)
        self.kinds |= texture.kinds
        return texture

    def surface(self, side: int = SURFACE) -> Image:
        """A cut of one of the scene's textures: two things may well wear the same one."""
        texture = self.textures[self.rng.integers(len(self.textures))]
        return texture.cut(self.rng, (side, side), zoom=(0.5, 2.0))

    def wander(self, speed: float, dimensions: int = 1) -> Path:
        """A smooth path [T, dimensions] of about `speed` units per second at normal pace."""
        periods = (0.8 * self.fps, 6 * self.fps)
        return wander(self.rng, self.frames, self.pace * speed / self.fps, dimensions, periods)

    def direction(self, low: float, high: float) -> npt.NDArray[np.float64]:
        """A unit vector at an elevation between `low` and `high` radians, at any azimuth."""
        azimuth, elevation = self.rng.uniform(0, 2 * np.pi), self.rng.uniform(low, high)
        level = np.cos(elevation)
        return np.array([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)])


def _spread(rng: np.random.Generator, radii: list[float]) -> npt.NDArray[np.float64]:
    """Places [K, 2] on the table for discs of these radii, apart where a few tries find room."""
    places: list[npt.NDArray[np.float64]] = []
    for radius in radii:
        tries = rng.uniform(-1, 1, (20, 2)) * [0.28, 0.22]
        gaps = [
            min(
                (np.hypot(*(place - other)) - radius - radii[i] for i, other in enumerate(places)),
                default=1.0,
            )
            for place in tries
        ]
        free = [place for place, gap in zip(tries, gaps, strict=True) if gap > 0]
        places.append(free[0] if free else tries[int(np.argmax(gaps))])
    return np.array(places)


def _object(draw: _Draw, solid: Solid, label: int, place: npt.NDArray[np.float64]) -> Body:
    """A solid that rests, slides or is carried; one in five leaves for a while."""
    rng, frames = draw.rng, draw.frames
    way = rng.choice(["rest", "slide", "carry"], p=[0.3, 0.4, 0.3])
    path = np.zeros((frames, 3))
    path[:, :2] = place
    yaw = np.full(frames, rng.uniform(0, 2 * np.pi))
    pitch, roll = np.zeros(frames), np.zeros(frames)
    if rng.random() < 0.2:
        pitch += np.pi / 2  # lies on its side
    if way != "rest":
        path[:, :2] += draw.wander(0.12, 2)
        yaw += draw.wander(1.0)[:, 0]
    if way == "carry":
        path[:, 2] = np.abs(rng.uniform(0, 0.2) + draw.wander(0.1)[:, 0])
        pitch += rng.normal(0, 0.6) + draw.wander(0.7)[:, 0]
        roll += rng.normal(0, 0.6) + draw.wander(0.7)[:, 0]
    if rng.random() < 0.2:
        path += excursion(rng, frames)[:, None] * draw.direction(0, 0.6) * rng.uniform(0.5, 1.2)
    # The base is the origin: a tilted object is lifted so that it does not sink into the table.
    sine = np.abs(np.sin(pitch)) + np.abs(np.sin(roll)) * np.abs(np.cos(pitch))
    upside = np.maximum(-np.cos(pitch) * np.cos(roll), 0)
    path[:, 2] += solid.radius * np.minimum(sine, 1) + solid.height * upside
    surfaces = (draw.surface(), draw.surface())
    return Body(solid, surfaces, label, float(rng.choice([0.05, 0.3, 0.8])), path, turned(yaw, pitch, roll))


def _hand(draw: _Draw) -> Body:
    """A gripper that moves over the table and hides things: it is not an object."""
    path = np.array([0, 0, draw.rng.uniform(0.05, 0.25)]) + draw.wander(0.3, 3)
    path[:, :2] += draw.rng.uniform(-0.3, 0.3, 2)
    path[:, 2] = np.abs(path[:, 2])
    turn = turned(draw.rng.uniform(0, np.pi) + draw.wander(0.5)[:, 0])
    return Body(
        household.gripper(draw.rng.uniform(0.03, 0.12)),
        (draw.surface(64), draw.surface(64)),
        0,
        0.5,
        path,
        turn,
    )


def _view(draw: _Draw, aim: npt.NDArray[np.float64]) -> View:
    """A hand-held camera that looks about at `aim` [2] on the table."""
    rng = draw.rng
    centre = np.append(aim, 0.05)
    place = centre + draw.direction(0.35, 1.1) * rng.uniform(0.4, 0.85) + draw.wander(0.12, 3)
    place[:, 2] = np.maximum(place[:, 2], 0.12)
    target = centre + rng.normal(0, 0.05, 3) + draw.wander(0.05, 3)
    return View(float(rng.uniform(38, 58)), place, target)


def _lamps(draw: _Draw) -> tuple[Lamp, ...]:
    count = int(draw.rng.integers(1, 4))
    lamps = []
    for index in range(count):
        x, y, z = draw.direction(0.5, 1.4) * draw.rng.uniform(1.2, 2.2)
        warm = np.array([1, 1, 1]) + draw.rng.normal(0, 0.08) * np.array([1, 0, -1])
        red, green, blue = (warm * draw.rng.uniform(0.7, 1.3) / count).clip(0, 1)
        lamps.append(Lamp((x, y, z), (red, green, blue), shadow=index == 0))
    return tuple(lamps)


def _confuse(draw: _Draw, bodies: list[Body], long_absence: bool) -> list[Body]:
    """The bodies, some of them dressed or formed like another one, some away for a while; and a double.

    The double of an object is none itself. The first object is away for long if it has to be.
    """
    rng = draw.rng
    result = list(bodies)
    for index in range(1, len(bodies)):
        if rng.random() < 0.25:
            model = bodies[rng.integers(index)]
            solid = model.solid if rng.random() < 0.7 else result[index].solid
            surfaces = model.surfaces if rng.random() < 0.7 else result[index].surfaces
            result[index] = replace(result[index], solid=solid, surfaces=surfaces)
    if rng.random() < 0.3:
        model = result[rng.integers(len(result))]
        double = _object(draw, model.solid, 0, rng.uniform(-1, 1, 2) * [0.28, 0.22])
        result.append(replace(double, surfaces=model.surfaces))
    for index, body in enumerate(bodies):
        must = long_absence and index == 0
        if must or rng.random() < 0.1:
            shortest = 20 if must and draw.frames >= 40 else min(4, draw.frames)
            way = absence(rng, draw.frames, shortest)[:, None] * draw.direction(0, 0.6) * 2.0
            result[index] = replace(result[index], place=body.place + way)
    return result


def build(
    rng: np.random.Generator, frames: int, fps: float, objects: int, family: str
) -> tuple[World, frozenset[str]]:
    """Draw a world with `objects` objects of a family, and name the kinds it is made of (see `Scene`).

    "held_out" is drawn as it always was; the other families are harder, see `_confuse`.
    """
    kinds = "train" if family == "train" else "held_out"
    draw = _Draw(rng, frames, fps, kinds)
    solids = [household.build(str(rng.choice(household.KINDS[kinds])), rng) for _ in range(objects)]
    places = _spread(rng, [solid.radius for solid in solids])
    bodies = [
        _object(draw, solid, index + 1, place)
        for index, (solid, place) in enumerate(zip(solids, places, strict=True))
    ]
    if family != "held_out":
        bodies = _confuse(draw, bodies, long_absence=family == "held_out_hard")
    if rng.random() < 0.35:
        bodies.append(_hand(draw))
    table, floor, wall = (draw.texture().cut(rng, (ROOM, ROOM), zoom=(0.5, 1.5)) for _ in range(3))
    shine = float(rng.choice([0.0, 0.2, 0.5]))
    furniture = furnish(table, floor, wall, frames, shine)
    view = _view(draw, rng.uniform(0.5, 1) * places[0])
    world = World((*bodies, *furniture), _lamps(draw), view, ambient=float(rng.uniform(0.25, 0.5)))
    labelled = [body.solid.kind for body in bodies if body.label]
    return world, frozenset(draw.kinds | {f"object:{kind}" for kind in labelled})
