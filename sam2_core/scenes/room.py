"""What stands around the objects of a tabletop scene: the table, the floor and the wall of the room."""

from __future__ import annotations

import numpy as np

from sam2_core.scenes.arrays import Image
from sam2_core.scenes.household import Part, Solid
from sam2_core.scenes.meshes import Mesh, cuboid, revolve
from sam2_core.scenes.poses import turned
from sam2_core.scenes.world import Body

TABLE = (1.7, 1.2)  # metres along x and y
FLOOR = -0.75
WALL = 3.2  # metres from the origin, all around


def _still(kind: str, mesh: Mesh, surface: Image, frames: int, shine: float) -> Body:
    place, turn = np.zeros((frames, 3)), np.tile(turned(0.0), (frames, 1))
    return Body(Solid(kind, (Part(mesh, 0),)), (surface,), 0, shine, place, turn)


def furnish(table: Image, floor: Image, wall: Image, frames: int, shine: float) -> tuple[Body, ...]:
    """A table top in the texture `table`, a floor and a round wall; none of them is an object (label 0)."""
    top = cuboid(*TABLE, 0.04).moved((0, 0, -0.04))
    ground = cuboid(2 * WALL, 2 * WALL, 0.02).moved((0, 0, FLOOR - 0.02)).tiled(6, 6)
    # From the top down, so that the inside is seen.
    around = revolve([(WALL, 2.5), (WALL, FLOOR)]).tiled(8, 1)
    return (
        _still("table", top, table, frames, shine),
        _still("floor", ground, floor, frames, 0.0),
        _still("wall", around, wall, frames, 0.0),
    )
