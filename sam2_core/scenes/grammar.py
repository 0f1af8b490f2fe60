"""A grammar of shapes. Its seed is a family: a short programme that adds and cuts primitives.

An instance runs the programme with its own small deviations. There are a million families for training and a
million for the held-out scenes, over primitives of their own (`shapes.KINDS`). A random composition can look
like anything, so some training shape may happen to resemble a held-out one; none is made from one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from sam2_core.scenes.arrays import Field, as_field
from sam2_core.scenes.shapes import KINDS, Contour, Shape, outline
from sam2_core.scenes.sprites import fill

FAMILIES = {"train": range(1_000_000), "held_out": range(1_000_000, 2_000_000)}
_DRAFT = 96  # pixels on a side of the drawing on which a shape is measured


@dataclass(frozen=True)
class _Step:
    """Add or cut `copies` of a primitive, or of a stroke [n, 2] of some `thickness`, as a symmetry says.

    The primitive is scaled by `size`, turned by `turn` and put at `place`; its copies lie around the origin
    ("ring"), beside each other ("row") or are mirrored ("mirror").
    """

    cut: bool
    contours: Shape
    thickness: float  # of a stroke; 0 is a filled primitive
    size: npt.NDArray[np.float64]
    turn: float
    place: npt.NDArray[np.float64]
    copies: int
    symmetry: str

    def shapes(self) -> list[Shape]:
        """The contours of each copy, in units of the shape."""
        moved = [contour * self.size @ _turn(self.turn).T + self.place for contour in self.contours]
        if self.symmetry == "mirror":
            return [moved, [contour * [-1, 1] for contour in moved]]
        if self.symmetry == "row":
            gap = np.array([1.1 * float(self.size[0]), 0])
            offsets = [(index - (self.copies - 1) / 2) * gap for index in range(self.copies)]
            return [[contour + offset for contour in moved] for offset in offsets]
        turns = [_turn(2 * np.pi * index / self.copies) for index in range(self.copies)]
        return [[contour @ turn.T for contour in moved] for turn in turns]

    def varied(self, rng: np.random.Generator) -> _Step:
        """The step of one instance."""
        return replace(
            self,
            thickness=self.thickness * np.exp(rng.normal(0, 0.15)),
            size=self.size * np.exp(rng.normal(0, 0.1, 2)),
            turn=self.turn + rng.normal(0, 0.12),
            place=self.place + rng.normal(0, 0.05, 2),
        )


def _turn(angle: float) -> npt.NDArray[np.float64]:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _stroke(rng: np.random.Generator) -> Contour:
    """A smooth curve [40, 2] whose heading wanders, centred, about 2 long."""
    knots = rng.normal(0, rng.choice([0.3, 1.0, 1.8]), 5)
    heading = np.interp(np.linspace(0, 4, 40), np.arange(5), knots.cumsum())
    path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], -1), axis=0) / 20
    return np.asarray(path - path.mean(0))


def _sample_step(rng: np.random.Generator, family: str, first: bool) -> _Step:
    kinds = KINDS[family]
    thin = rng.random() < (0.18 if first else 0.25)
    cut = not first and rng.random() < 0.35
    symmetry = str(rng.choice(["ring", "mirror", "row"])) if not first else "ring"
    copies = int(rng.choice([1, 1, 1, 2, 3, 4, 6])) if not first else 1
    scale = 1.0 if first else float(rng.uniform(0.15, 0.45) if cut else rng.uniform(0.25, 0.9))
    heading, away = rng.uniform(0, 2 * np.pi), 0.0 if first else rng.uniform(0, 0.9)
    contours = [_stroke(rng)] if thin else outline(str(rng.choice(list(kinds), p=list(kinds.values()))), rng)
    return _Step(
        cut,
        contours,
        float(rng.uniform(0.05, 0.3)) if thin else 0.0,
        scale * np.exp(rng.normal(0, 0.25, 2)),
        float(rng.uniform(0, 2 * np.pi)),
        away * np.array([np.cos(heading), np.sin(heading)]),
        copies,
        symmetry,
    )


def _programme(seed: int, family: str) -> list[_Step]:
    rng = np.random.default_rng([seed, 77])
    count = int(rng.choice([1, 2, 3, 4, 5], p=[0.15, 0.25, 0.3, 0.2, 0.1]))
    return [_sample_step(rng, family, first=index == 0) for index in range(count)]


def _paint(mask: npt.NDArray[np.uint8], step: _Step, centre: Contour, scale: float) -> None:
    value = 0 if step.cut else 255
    for shape in step.shapes():
        placed = [(contour - centre) * scale for contour in shape]
        if step.thickness == 0:
            fill(mask, placed, value)
            continue
        points = np.round((placed[0] + (mask.shape[0] - 1) / 2) * 16).astype(np.int32)
        width = max(1, round(step.thickness * scale))
        cv2.polylines(mask, [points], False, value, width, cv2.LINE_AA, shift=4)


def _largest_piece(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The mask without the pieces that hang together with the largest one nowhere."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats((mask >= 128).astype(np.uint8))
    if count <= 2:
        return mask
    largest = pieces == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return np.where(cv2.dilate(largest.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0, mask, 0)


def sample_shape(rng: np.random.Generator, seed: int, family: str, area: float, margin: float = 0.0) -> Field:
    """The coverage [n, n] in 0..1 of an instance of shape family `seed` out of FAMILIES[`family`].

    It is in one piece of about `area` square pixels, less where that would be more than 3.2 times as long as
    the root of its area, in the middle of a square that leaves `margin` times its extent free around it.
    """
    steps = [step.varied(rng) for step in _programme(seed, family)]
    points = np.concatenate(
        [np.concatenate(shape) for step in steps if not step.cut for shape in step.shapes()]
    )
    centre = (points.min(0) + points.max(0)) / 2
    reach = float(np.abs(points - centre).max()) + max(step.thickness for step in steps) / 2
    draft = np.zeros((_DRAFT, _DRAFT), np.uint8)
    kept: list[_Step] = []
    for step in steps:
        changed = draft.copy()
        _paint(changed, step, centre, 0.48 * _DRAFT / reach)
        if not step.cut or np.count_nonzero(changed) > 0.4 * np.count_nonzero(draft):
            draft = changed
            kept.append(step)
    share = max(np.count_nonzero(_largest_piece(draft)) / draft.size, 1e-3)
    # The draft's square is 2 * reach / 0.96 units wide.
    scale = min((area / share) ** 0.5, 3.2 * area**0.5) * 0.48 / reach
    side = 2 * int(np.ceil(reach * scale * (1 + margin))) + 4
    mask = np.zeros((side, side), np.uint8)
    for step in kept:
        _paint(mask, step, centre, scale)
    return as_field(_largest_piece(mask)) * np.float32(1 / 255)
