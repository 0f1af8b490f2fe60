"""Triangle meshes with texture coordinates for the tabletop objects, in metres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mesh:
    """A closed surface.

    `vertices` float64 [V, 3]; `faces` int64 [F, 3], anticlockwise from outside; `texture` float64 [V, 2].
    """

    vertices: Points
    faces: npt.NDArray[np.int64]
    texture: Points

    def moved(self, offset: tuple[float, float, float]) -> Mesh:
        """The same mesh at another place."""
        return Mesh(self.vertices + np.array(offset), self.faces, self.texture)

    def tiled(self, across: float, along: float) -> Mesh:
        """The same mesh with its texture repeated so many times in the two directions."""
        return Mesh(self.vertices, self.faces, self.texture * np.array([across, along]))


def _lattice(vertices: Points, along: Points) -> Mesh:
    """The skin over rings of vertices [n, m, 3] that close; `along` [n] in 0..1 is the way up the texture."""
    rings, sides = vertices.shape[:2]
    index = np.arange(rings * sides).reshape(rings, sides)
    a, b = index[:-1, :-1].ravel(), index[:-1, 1:].ravel()
    c, d = index[1:, 1:].ravel(), index[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)])
    u, v = np.meshgrid(np.linspace(0, 1, sides), 1 - along)
    return Mesh(vertices.reshape(-1, 3), faces, np.stack([u.ravel(), v.ravel()], -1))


def _arc_length(points: Points) -> Points:
    """How far along the line each of its points [n, d] is, in 0..1."""
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    return np.asarray(length / length[-1])


def revolve(profile: list[tuple[float, float]] | Points, sides: int = 36) -> Mesh:
    """Turn a profile of (radius, height) around the z axis; it runs from the bottom outwards and up."""
    outline = np.asarray(profile, np.float64)
    # A radius of zero would make triangles without area, which MuJoCo refuses.
    radius = np.maximum(outline[:, :1], 1e-4)
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    height = np.broadcast_to(outline[:, 1:], (len(outline), sides + 1))
    return _lattice(
        np.stack([radius * np.cos(angle), radius * np.sin(angle), height], -1), _arc_length(outline)
    )


def sweep(path: Points, radius: Points, sides: int = 16) -> Mesh:
    """A tube along a path [n, 3] that lies in a plane of constant y, with a radius [n] at each point."""
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    binormal = np.array([0.0, 1.0, 0.0])
    normal = np.cross(binormal, tangent)
    angle = np.linspace(0, 2 * np.pi, sides + 1)[None, :, None]
    offset = np.cos(angle) * normal[:, None] + np.sin(angle) * binormal
    thickness = np.maximum(radius, 1e-4)[:, None, None]
    return _lattice(path[:, None] + thickness * offset, _arc_length(path))


def cuboid(width: float, depth: float, height: float) -> Mesh:
    """A box that stands on z = 0, the whole texture on each of its faces."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64)
    vertices, texture = [], []
    for axis in range(3):
        for side in (-1.0, 1.0):
            face = np.insert(corners[:: int(side)], axis, side, axis=1)
            # Rolled so that the face turns the same way round on every axis, and the sides stand upright.
            vertices.append(face if axis != 1 else face[::-1])
            upright = vertices[-1][:, [1 - axis, 2]] if axis < 2 else vertices[-1][:, :2]
            texture.append((upright * [1, -1] + 1) / 2)
    quads = np.arange(24).reshape(6, 4)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    scale = np.array([width, depth, height]) / 2
    return Mesh(np.concatenate(vertices) * scale + [0, 0, height / 2], faces, np.concatenate(texture))
