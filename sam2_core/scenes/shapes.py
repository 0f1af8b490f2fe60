"""Outlines of 2D objects. A shape is a list of closed contours [n, 2], filled by the even-odd rule.

Coordinates have no unit: every shape is centred and scaled to an area of about 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Contour = npt.NDArray[np.float64]
Shape = list[Contour]


def _polar(radius: npt.NDArray[np.float64], angle: npt.NDArray[np.float64]) -> Contour:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def _circle(points: int = 64) -> npt.NDArray[np.float64]:
    return np.linspace(0, 2 * np.pi, points, endpoint=False)


def _ellipse(rng: np.random.Generator) -> Shape:
    return [_polar(np.ones(64), _circle()) * [1, rng.uniform(0.35, 1)]]


def _polygon(rng: np.random.Generator) -> Shape:
    corners = int(rng.integers(3, 8))
    angle = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * np.pi / corners
    return [_polar(rng.uniform(0.7, 1, corners), angle) * [1, rng.uniform(0.5, 1)]]


def _blob(rng: np.random.Generator) -> Shape:
    """A circle bent by random radial harmonics."""
    angle = _circle(96)
    radius = np.ones_like(angle)
    for harmonic in range(2, 7):
        radius += rng.normal(0, 0.35 / harmonic) * np.cos(harmonic * angle + rng.uniform(0, 2 * np.pi))
    return [_polar(np.maximum(radius, 0.2), angle)]


def _star(rng: np.random.Generator) -> Shape:
    points = int(rng.integers(4, 9))
    radius = np.where(np.arange(2 * points) % 2, rng.uniform(0.35, 0.65), 1.0)
    return [_polar(radius, _circle(2 * points))]


def _ring(rng: np.random.Generator) -> Shape:
    stretch = [1, rng.uniform(0.5, 1)]
    outer = _polar(np.ones(64), _circle()) * stretch
    return [outer, outer * rng.uniform(0.4, 0.75)]


def _bar(rng: np.random.Generator) -> Shape:
    half = rng.uniform(0.04, 0.18)
    return [np.array([[-1, -half], [1, -half], [1, half], [-1, half]])]


def _rounded_box(rng: np.random.Generator) -> Shape:
    angle = _circle(80)
    direction = _polar(np.ones_like(angle), angle)
    corner = rng.uniform(0.05, 0.45)
    half = np.array([1, rng.uniform(0.35, 1)])
    return [np.sign(direction) * np.maximum(half - corner, 0) + direction * np.minimum(corner, half)]


def _vessel(rng: np.random.Generator) -> Shape:
    """The silhouette of something turned on a lathe: bottles, vases, glasses."""
    knots = int(rng.integers(3, 7))
    height = np.linspace(-1, 1, 40)
    radius = np.interp(height, np.linspace(-1, 1, knots), rng.uniform(0.15, 0.7, knots))
    radius = np.convolve(np.pad(radius, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    right = np.stack([radius, height], axis=-1)
    return [np.concatenate([right, right[::-1] * [-1, 1]])]


def _fence(rng: np.random.Generator) -> Shape:
    """Several parallel bars: an object that is seen in pieces."""
    bars = int(rng.integers(3, 6))
    half = rng.uniform(0.2, 0.35) / bars
    post = np.array([[-half, -1], [half, -1], [half, 1], [-half, 1]])
    return [post + np.array([x, 0]) for x in np.linspace(-0.9, 0.9, bars)]


def _crescent(rng: np.random.Generator) -> Shape:
    angle = np.linspace(0.6, 2 * np.pi - 0.6, 60)
    outer = _polar(np.ones(60), angle)
    tip = outer[0, 0]
    inner = np.stack([tip + (outer[:, 0] - tip) * rng.uniform(0.4, 0.8), outer[:, 1]], axis=-1)
    return [np.concatenate([outer, inner[::-1]])]


def _heart(rng: np.random.Generator) -> Shape:
    angle = _circle(80)
    x = 16 * np.sin(angle) ** 3
    y = 13 * np.cos(angle) - 5 * np.cos(2 * angle) - 2 * np.cos(3 * angle) - np.cos(4 * angle)
    return [np.stack([x * rng.uniform(0.6, 1.2), -y], axis=-1)]


def _gear(rng: np.random.Generator) -> Shape:
    teeth = int(rng.integers(6, 14))
    angle = _circle(teeth * 12)
    radius = np.where(np.sin(teeth * angle) > rng.uniform(-0.5, 0.5), 0.75, 1.0)
    rim = _polar(radius, angle)
    return [rim, _polar(np.full(40, rng.uniform(0.15, 0.45)), _circle(40))]


def _arrow(rng: np.random.Generator) -> Shape:
    shaft, neck = rng.uniform(0.15, 0.35), rng.uniform(-0.2, 0.3)
    upper = np.array([[-1, shaft], [neck, shaft], [neck, 0.8], [1, 0]])
    return [np.concatenate([upper, upper[-2::-1] * [1, -1]])]


def _cross(rng: np.random.Generator) -> Shape:
    a, b = rng.uniform(0.2, 0.4, 2)
    quarter = np.array([[1, b], [a, b], [a, 1]])
    turn = [quarter, quarter[::-1] * [-1, 1], -quarter, quarter[::-1] * [1, -1]]
    return [np.concatenate(turn)]


_OUTLINES: dict[str, Callable[[np.random.Generator], Shape]] = {
    "ellipse": _ellipse,
    "polygon": _polygon,
    "blob": _blob,
    "star": _star,
    "ring": _ring,
    "bar": _bar,
    "rounded_box": _rounded_box,
    "vessel": _vessel,
    "fence": _fence,
    "crescent": _crescent,
    "heart": _heart,
    "gear": _gear,
    "arrow": _arrow,
    "cross": _cross,
}

# Shape kinds of each family with how often each is drawn.
KINDS: dict[str, dict[str, float]] = {
    "train": {
        "ellipse": 0.15,
        "polygon": 0.15,
        "blob": 0.2,
        "star": 0.08,
        "ring": 0.08,
        "bar": 0.08,
        "rounded_box": 0.12,
        "vessel": 0.12,
        "fence": 0.02,
    },
    "held_out": {"crescent": 0.2, "heart": 0.2, "gear": 0.2, "arrow": 0.2, "cross": 0.2},
}


def _signed_area(contour: Contour) -> float:
    x, y = contour.T
    return float(0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


def outline(kind: str, rng: np.random.Generator) -> Shape:
    """The contours of a shape of a kind out of KINDS, as they come: neither centred nor scaled."""
    return _OUTLINES[kind](rng)


def sample_shape(rng: np.random.Generator, family: str) -> tuple[str, Shape]:
    """Draw the kind and the contours of a shape of a family; it spans at most 3 units."""
    weights = KINDS[family]
    kind = str(rng.choice(list(weights), p=list(weights.values())))
    shape = outline(kind, rng)
    areas = sorted((abs(_signed_area(contour)) for contour in shape), reverse=True)
    # The second contour of a ring or a gear is a hole; a fence is a sum of bars.
    area = sum(areas) if kind == "fence" else 2 * areas[0] - sum(areas)
    centre = (shape[0].min(0) + shape[0].max(0)) / 2 if len(shape) < 3 else np.zeros(2)
    centred = [contour - centre for contour in shape]
    span = 2 * max(float(np.linalg.norm(contour, axis=1).max()) for contour in centred)
    scale = min(area**-0.5, 3 / span)
    return kind, [contour * scale for contour in centred]
