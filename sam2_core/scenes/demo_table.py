"""The built-in camera's scene: a lit table on which objects move, hide each other, leave and come back.

Everything repeats after PERIOD seconds without a jump, so that one period played in a loop is an endless
stream: the mug circles the coffee pack (behind it at a quarter of the period, in front of it at three
quarters), a gripper carries the can out of the view and brings it back, the ball rolls past at the back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sam2_core.scenes import demo_surfaces as surfaces
from sam2_core.scenes import household
from sam2_core.scenes.arrays import Image
from sam2_core.scenes.household import Part, Solid
from sam2_core.scenes.meshes import cuboid
from sam2_core.scenes.motion import Path
from sam2_core.scenes.poses import turned
from sam2_core.scenes.room import furnish
from sam2_core.scenes.world import Body, Lamp, View, World

PERIOD = 10.0  # seconds
OBJECTS = ("mug", "box", "can", "banana", "ball", "bowl")  # in the order in which they are added

_CAN_PLACE = (0.3, -0.08)
# When the gripper and what it carries are where: fraction of the period, x, y, height above the table.
_GRIPPER_KEYS = (
    (0.0, *_CAN_PLACE, 0.75),
    (0.12, *_CAN_PLACE, 0.75),
    (0.22, *_CAN_PLACE, 0.03),
    (0.26, *_CAN_PLACE, 0.03),
    (0.34, *_CAN_PLACE, 0.16),
    (0.45, 0.95, -0.08, 0.2),
    (0.55, 0.95, -0.08, 0.2),
    (0.68, *_CAN_PLACE, 0.16),
    (0.76, *_CAN_PLACE, 0.03),
    (0.8, *_CAN_PLACE, 0.03),
    (0.9, *_CAN_PLACE, 0.75),
    (1.0, *_CAN_PLACE, 0.75),
)
_GRASP, _RELEASE = 0.24, 0.78  # between these fractions of the period the can moves with the gripper


def _follow(phase: Path, keys: Sequence[tuple[float, ...]]) -> Path:
    """Places [T, 3] at `phase` [T] in 0..1, eased from one key (fraction, x, y, z) to the next."""
    table = np.array(keys)
    after = np.clip(np.searchsorted(table[:, 0], phase, side="right"), 1, len(table) - 1)
    start, end = table[after - 1], table[after]
    share = ((phase - start[:, 0]) / (end[:, 0] - start[:, 0]))[:, None]
    return np.asarray(start[:, 1:] + (end - start)[:, 1:] * share**2 * (3 - 2 * share))


def _resting(phase: Path, x: float, y: float) -> Path:
    return np.tile([x, y, 0.0], (len(phase), 1))


def _objects(phase: Path, count: int) -> list[Body]:
    """The first `count` of OBJECTS, labelled from 1."""
    wave = 2 * np.pi * phase
    still = np.zeros_like(phase)
    rng = np.random.default_rng(32)
    solids = {kind: household.build(kind, rng) for kind in OBJECTS}
    solids["box"] = Solid("box", (Part(cuboid(0.15, 0.07, 0.2), 0),))
    around_box = np.stack([-0.2 * np.cos(wave), 0.16 * np.sin(wave) + 0.02, still], -1)
    carried = _follow(phase, _GRIPPER_KEYS)
    held = (phase > _GRASP) & (phase < _RELEASE)
    can = np.where(held[:, None], carried - [0, 0, 0.03], [*_CAN_PLACE, 0.0])
    roll = 0.16 * np.sin(wave)
    ball = np.stack([0.24 + roll, still + 0.3, still], -1)
    radius = solids["ball"].radius
    # The ball turns about its centre, its origin is its lowest point.
    centre = roll / radius
    ball += radius * np.stack([-np.sin(centre), still, 1 - np.cos(centre)], -1)
    worn: dict[str, tuple[Image, ...]] = {
        "mug": (surfaces.bands((52, 122, 128), (0.2, 0.36, (240, 232, 214)), (0.56, 1, (236, 232, 222))),),
        "box": (surfaces.coffee_pack(),),
        "can": (surfaces.can_label(), surfaces.bands((190, 192, 196))),
        "banana": (surfaces.banana_skin(),),
        "ball": (surfaces.ball(),),
        "bowl": (surfaces.bands((222, 226, 232), (0.3, 0.36, (44, 74, 150)), (0.62, 0.68, (44, 74, 150))),),
    }
    paths: dict[str, tuple[Path, Path]] = {
        "mug": (around_box, turned(wave - 0.6)),
        "box": (_resting(phase, 0.0, 0.02), turned(0.25 * np.sin(wave))),
        "can": (can, turned(still - 0.4)),  # its title towards the camera
        "banana": (_resting(phase, -0.23, -0.22), turned(0.5 + 0.3 * np.sin(wave))),
        "ball": (ball, turned(still, centre)),
        "bowl": (_resting(phase, -0.36, 0.22), turned(still)),
    }
    return [
        Body(solids[kind], worn[kind], label, 0.3, *paths[kind])
        for label, kind in enumerate(OBJECTS[:count], start=1)
    ]


def build(frames: int, fps: float, objects: int) -> tuple[World, frozenset[str]]:
    """The world of the first `frames` frames and `objects` of OBJECTS, and its kinds (see `Scene`).

    Raises:
        ValueError: too many objects, or more frames than one period has.
    """
    if not 1 <= objects <= len(OBJECTS):
        raise ValueError(f"objects is {objects}; the demo scene has 1 to {len(OBJECTS)}")
    period = round(PERIOD * fps)
    if not 1 <= frames <= period:
        raise ValueError(f"frames is {frames}; at {fps:g} fps the demo has {period}")
    phase = np.arange(frames) / period
    wave = 2 * np.pi * phase
    bodies = _objects(phase, objects)
    if "can" in OBJECTS[:objects]:
        metal, rubber = surfaces.bands((150, 156, 164)), surfaces.bands((44, 46, 50))
        place = _follow(phase, _GRIPPER_KEYS)
        hand = household.gripper(opening=2 * bodies[OBJECTS.index("can")].solid.radius)
        bodies.append(Body(hand, (metal, rubber), 0, 0.6, place, turned(np.zeros(frames))))
    furniture = furnish(
        surfaces.wood(),
        surfaces.plaster((118, 122, 126)),
        surfaces.plaster((196, 204, 206)),
        frames,
        shine=0.15,
    )
    view = View(
        43.0,
        np.stack([0.1 * np.sin(wave), -0.76 + 0.04 * np.cos(wave), 0.58 + 0.03 * np.sin(2 * wave)], -1),
        np.stack([0.02 * np.sin(wave), 0 * wave, np.full(frames, 0.04)], -1),
    )
    lamps = (
        Lamp((-0.7, -0.5, 1.5), (0.62, 0.58, 0.52), shadow=True),
        Lamp((1.2, -0.8, 1.4), (0.2, 0.22, 0.26), shadow=False),
    )
    kinds = frozenset(f"object:{kind}" for kind in OBJECTS[:objects])
    return World((*bodies, *furniture), lamps, view, ambient=0.35), kinds
