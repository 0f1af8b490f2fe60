"""Tabletop scenes rendered by MuJoCo: everyday objects that move, hide each other, leave and come back.

World: metres, z up, the table top at z = 0 around the origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sam2_core.scenes import cache, demo_table, random_table
from sam2_core.scenes.rendering import render
from sam2_core.scenes.scene import Scene
from sam2_core.scenes.sensor import Sensor
from sam2_core.scenes.world import World

FAMILIES = ("train", "held_out", "demo", "held_out_hard")


@dataclass(frozen=True, kw_only=True)
class TabletopScene(Scene):
    """A Scene of a table; `depth` is always there, 0 nowhere, at most some metres (the walls of the room).

    Attributes:
        intrinsics: the camera matrix [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels, float64 [3, 3]; the
            centre of the first pixel is (0, 0), as in sensor_msgs/CameraInfo. There is no distortion.
        fps: frames per second.
    """

    intrinsics: npt.NDArray[np.float64]
    fps: float


def _intrinsics(fovy: float, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    height, width = size
    focal = height / 2 / np.tan(np.radians(fovy) / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def sample_scene(
    seed: int,
    frames: int = 8,
    size: tuple[int, int] = (480, 640),
    family: str = "train",
    fps: float = 30,
    objects: int | None = None,
) -> TabletopScene:
    """Render a clip of `frames` frames of `size` (height, width): a function of its arguments only.

    "train" and both held-out families draw `objects` objects (two to six where None), furniture, lamps, a
    moving camera and its flaws; the held-out ones use objects, textures and photographs that "train" never
    does (`household.KINDS`, `textures.KINDS`, `textures.PHOTOGRAPHS`). "train" and "held_out_hard" have
    look-alikes and long absences, too. "demo" is the built-in camera: always the same table with 1 to 6
    objects (three where None), which repeats after `demo_table.PERIOD` seconds.

    Raises:
        ValueError: `family` is none of FAMILIES, or the demo is asked for more objects than it has, or for
            more frames than it has before it repeats (loop over them instead).
        RenderingUnavailableError: this machine has no way to render without a display.
    """
    if family not in FAMILIES:
        raise ValueError(f"family is {family!r}; allowed: {', '.join(FAMILIES)}")
    rng = np.random.default_rng([seed, FAMILIES.index(family)])
    if family == "demo":
        world, kinds = demo_table.build(frames, fps, 3 if objects is None else objects)
    else:
        count = int(rng.integers(2, 7)) if objects is None else objects
        world, kinds = random_table.build(rng, frames, fps, count, family)
    images, segments, depth = render(world, frames, size)
    if family != "demo":
        sensor = Sensor.sample(rng, frames, size)
        if family != "held_out":
            sensor = sensor.aged(rng)
        images = sensor.record(np.stack([sensor.expose(image, index) for index, image in enumerate(images)]))
    owners = np.array([0, *(label for label, _ in world.segments())], np.uint8)
    return TabletopScene(
        images,
        owners[segments],
        _names(world),
        depth,
        kinds,
        segments,
        tuple(owners[1:].tolist()),
        intrinsics=_intrinsics(world.view.fovy, size),
        fps=fps,
    )


def _names(world: World) -> tuple[str, ...]:
    labelled = sorted((body for body in world.bodies if body.label), key=lambda body: body.label)
    return tuple(body.solid.kind for body in labelled)


def load_scene(
    seed: int,
    frames: int = 8,
    size: tuple[int, int] = (480, 640),
    family: str = "train",
    fps: float = 30,
    objects: int | None = None,
) -> TabletopScene:
    """`sample_scene`, rendered once and then read from the disk (see `cache.load_or_render`)."""
    key = {"tabletop": family, "seed": seed, "frames": frames, "size": size, "fps": float(fps)}
    return cache.load_or_render(
        TabletopScene,
        key | {"objects": objects},
        lambda: sample_scene(seed, frames, size, family, fps, objects),
    )
