"""Surface textures for the scenes: procedural patterns and photographs that ship inside scikit-image.

A texture is a tile of RGB pixels that is cut at any size, place and angle, so that two things can share it.
Most patterns are a scalar field [S, S] in 0..1 that is coloured through a palette of two to four colours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import skimage

from sam2_core.scenes.arrays import Field, Image, as_field, as_image

TILE = 256  # pixels on a side of a procedural tile

# The photographs in the scikit-image wheel itself (others would be downloads), split between the families.
PHOTOGRAPHS = {
    "train": (
        "astronaut.png",
        "brick.png",
        "camera.png",
        "cell.png",
        "chelsea.png",
        "clock_motion.png",
        "coins.png",
        "grass.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "motorcycle_left.png",
        "retina.jpg",
        "rocket.jpg",
    ),
    "held_out": ("coffee.png", "gravel.png", "moon.png", "text.png"),
}


@dataclass(frozen=True)
class Texture:
    """A tile of surface: `image` uint8 [h, w, 3] RGB, and the `kinds` it is made of (see `Scene.kinds`)."""

    image: Image
    kinds: frozenset[str]

    def cut(self, rng: np.random.Generator, size: tuple[int, int], zoom: tuple[float, float]) -> Image:
        """A patch of `size` (height, width) at a random place and angle, enlarged within `zoom`."""
        height, width = size
        x, y = rng.uniform(0.3, 0.7, 2) * self.image.shape[1::-1]
        matrix = cv2.getRotationMatrix2D((float(x), float(y)), rng.uniform(0, 360), rng.uniform(*zoom))
        matrix = matrix + np.array([[0, 0, width / 2 - x], [0, 0, height / 2 - y]])
        return as_image(
            cv2.warpAffine(self.image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        )


def octave_noise(rng: np.random.Generator, side: int, coarsest: int, octaves: int) -> Field:
    """Value noise [side, side] stretched to 0..1: `octaves` layers, the first of `coarsest` cells a side."""
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        cells = min(coarsest << octave, side)
        layer = rng.random((cells, cells), dtype=np.float32)
        total += cv2.resize(layer, (side, side), interpolation=cv2.INTER_CUBIC) * 0.6**octave
    low, high = float(total.min()), float(total.max())
    return (total - low) / (high - low)


def _grid(rng: np.random.Generator) -> tuple[Field, Field]:
    """Two perpendicular coordinates in 0..1 over the tile, turned by a random angle."""
    y, x = np.mgrid[0:TILE, 0:TILE].astype(np.float32) / TILE
    angle = rng.uniform(0, 2 * np.pi)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cosine + y * sine, y * cosine - x * sine


def _flat(rng: np.random.Generator) -> Field:
    return np.full((TILE, TILE), rng.random(), np.float32)


def _noise(rng: np.random.Generator) -> Field:
    return octave_noise(rng, TILE, int(rng.integers(2, 40)), int(rng.integers(1, 5)))


def _stripes(rng: np.random.Generator) -> Field:
    along, _ = _grid(rng)
    wave = np.sin(along * np.float32(2 * np.pi * rng.uniform(3, 24)))
    return np.clip(0.5 + wave * np.float32(rng.choice([0.5, 8.0])), 0, 1)


def _checks(rng: np.random.Generator) -> Field:
    along, across = _grid(rng)
    frequency = np.float32(np.pi * rng.uniform(3, 20))
    return np.clip(0.5 + 12 * np.sin(along * frequency) * np.sin(across * frequency), 0, 1)


def _gradient(rng: np.random.Generator) -> Field:
    along, across = _grid(rng)
    if rng.random() < 0.5:
        along = np.hypot(along - along.mean(), across - across.mean())
    return (along - along.min()) / (along.max() - along.min())


def _dots(rng: np.random.Generator) -> Field:
    along, across = _grid(rng)
    frequency = np.float32(rng.uniform(4, 16))
    distance = np.hypot((along * frequency) % 1 - 0.5, (across * frequency) % 1 - 0.5)
    return np.clip((np.float32(rng.uniform(0.2, 0.4)) - distance) * 8 + 0.5, 0, 1)


def _marble(rng: np.random.Generator) -> Field:
    along, _ = _grid(rng)
    warp = octave_noise(rng, TILE, 4, 4)
    wave = along * np.float32(rng.uniform(2, 8)) + warp * 3
    return as_field(0.5 + 0.5 * np.sin(np.float32(2 * np.pi) * wave))


def _cells(rng: np.random.Generator) -> Field:
    """Voronoi cells of random seeds, one value each."""
    seeds = np.ones((TILE, TILE), np.uint8)
    count = int(rng.integers(20, 150))
    seeds[rng.integers(0, TILE, count), rng.integers(0, TILE, count)] = 0
    _, nearest = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    return rng.random(count + 1, dtype=np.float32)[nearest]


def _brushed(rng: np.random.Generator) -> Field:
    """Fine streaks in one direction, as on metal, wood or cloth."""
    rows = rng.random((TILE, int(rng.integers(1, 6))), dtype=np.float32)
    return as_field(cv2.resize(rows, (TILE, TILE), interpolation=cv2.INTER_LINEAR))


def _speckle(rng: np.random.Generator) -> Field:
    """Nearly plain with small grains of another colour, as granite or a speckled egg."""
    grains = octave_noise(rng, TILE, int(rng.integers(48, 100)), 2)
    return np.clip((grains - np.float32(rng.uniform(0.62, 0.8))) * 6, 0, 1)


def _plaid(rng: np.random.Generator) -> Field:
    """Two sets of bands of random widths across each other, as on a shirt."""
    along, across = _grid(rng)
    bands = rng.random((2, int(rng.integers(4, 16))), dtype=np.float32)
    repeats = rng.uniform(1, 5)
    first, second = (
        band[((axis * np.float32(repeats)) % 1 * len(band)).astype(np.int32)]
        for band, axis in zip(bands, (along, across), strict=True)
    )
    return (first + second) / 2


def _rings(rng: np.random.Generator) -> Field:
    """Circles around a point, as on wood or a target."""
    along, across = _grid(rng)
    distance = np.hypot(along - rng.normal(0, 0.5), (across - rng.normal(0, 0.5)) * rng.uniform(0.4, 1))
    wave = np.sin(distance.astype(np.float32) * np.float32(2 * np.pi * rng.uniform(3, 16)))
    return np.clip(0.5 + wave * np.float32(rng.choice([0.5, 4.0])), 0, 1)


def _ridges(rng: np.random.Generator) -> Field:
    """Creases of noise, as in crumpled cloth, bark or water."""
    return np.abs(2 * octave_noise(rng, TILE, int(rng.integers(2, 12)), int(rng.integers(1, 4))) - 1)


def _patchwork(rng: np.random.Generator) -> Field:
    """Rectangles on top of each other."""
    field = np.full((TILE, TILE), rng.random(), np.float32)
    for _ in range(int(rng.integers(8, 60))):
        x, y = rng.integers(0, TILE, 2)
        width, height = rng.integers(8, 90, 2)
        field[y : y + height, x : x + width] = rng.random()
    return field


def _scribbles(rng: np.random.Generator) -> Field:
    """Curved lines, as of branches, drawings or cracks."""
    field = np.full((TILE, TILE), rng.random(), np.float32)
    for _ in range(int(rng.integers(4, 30))):
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.35, 30))
        steps = np.stack([np.cos(heading), np.sin(heading)], -1) * rng.uniform(3, 12)
        path = (rng.uniform(0, TILE, 2) + np.cumsum(steps, axis=0)).astype(np.int32)
        cv2.polylines(field, [path], False, rng.random(), int(rng.integers(1, 7)), cv2.LINE_AA)
    return field


def _chevrons(rng: np.random.Generator) -> Field:
    along, across = _grid(rng)
    fold = np.abs((across * np.float32(rng.uniform(2, 8))) % 1 - 0.5)
    wave = np.sin((along * np.float32(rng.uniform(4, 14)) + fold) * np.float32(2 * np.pi))
    return np.clip(0.5 + wave * np.float32(rng.choice([0.5, 6.0])), 0, 1)


def _confetti(rng: np.random.Generator) -> Field:
    """Ellipses of all sizes and tones on a plain ground, as of leaves, petals or stones."""
    field = np.full((TILE, TILE), rng.random(), np.float32)
    largest = rng.uniform(4, 30)
    for _ in range(int(rng.integers(30, 150))):
        x, y = (int(value) for value in rng.integers(0, TILE, 2))
        axes = (int(rng.uniform(2, largest)) + 1, int(rng.uniform(2, largest)) + 1)
        cv2.ellipse(field, (x, y), axes, rng.uniform(0, 180), 0, 360, rng.random(), -1, cv2.LINE_AA)
    return field


def _fur(rng: np.random.Generator) -> Field:
    """Short hairs along a direction that changes slowly: noise pushed along itself, time and again."""
    field = octave_noise(rng, TILE, 96, 1)
    angle = octave_noise(rng, TILE, 3, 1) * np.float32(rng.uniform(1, 6)) + np.float32(rng.uniform(0, 6))
    y, x = np.mgrid[0:TILE, 0:TILE].astype(np.float32)
    for length in (2, 4):
        step = np.float32(length)
        along, across = x + step * np.cos(angle), y + step * np.sin(angle)
        pushed = cv2.remap(field, along, across, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        field = as_field((field + pushed) / 2)
    return np.clip((field - field.mean()) * 2.5 + 0.5, 0, 1)


def _camouflage(rng: np.random.Generator) -> Field:
    """Noise in a few flat steps, as the coat of a cow or a map."""
    steps = int(rng.integers(2, 5))
    noise = octave_noise(rng, TILE, int(rng.integers(3, 12)), 2)
    return as_field(np.floor(noise * np.float32(steps * 0.999)) / max(steps - 1, 1))


_FIELDS: dict[str, Callable[[np.random.Generator], Field]] = {
    "flat": _flat,
    "noise": _noise,
    "stripes": _stripes,
    "checks": _checks,
    "gradient": _gradient,
    "dots": _dots,
    "marble": _marble,
    "cells": _cells,
    "brushed": _brushed,
    "speckle": _speckle,
    "plaid": _plaid,
    "rings": _rings,
    "ridges": _ridges,
    "patchwork": _patchwork,
    "scribbles": _scribbles,
    "chevrons": _chevrons,
    "confetti": _confetti,
    "fur": _fur,
    "camouflage": _camouflage,
}

# Texture kinds of each family and how often each is drawn; "photo" is one of the family's PHOTOGRAPHS.
KINDS: dict[str, dict[str, float]] = {
    "train": {
        "flat": 0.12,
        "noise": 0.1,
        "stripes": 0.05,
        "checks": 0.03,
        "gradient": 0.09,
        "plaid": 0.04,
        "rings": 0.03,
        "ridges": 0.05,
        "patchwork": 0.03,
        "scribbles": 0.03,
        "chevrons": 0.02,
        "confetti": 0.04,
        "fur": 0.04,
        "camouflage": 0.03,
        "photo": 0.3,
    },
    "held_out": {"brushed": 0.2, "speckle": 0.2, "dots": 0.1, "marble": 0.15, "cells": 0.1, "photo": 0.25},
}


@cache
def photograph(name: str) -> Image:
    """A photograph out of the scikit-image wheel, uint8 [h, w, 3] RGB, at most 640 pixels wide."""
    path = Path(skimage.__file__).parent / "data" / name
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"photograph {path} of scikit-image cannot be read: reinstall scikit-image")
    scale = min(1.0, 640 / image.shape[1])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return as_image(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def sample_palette(rng: np.random.Generator, colours: int) -> npt.NDArray[np.float32]:
    """Random RGB colours in 0..255, float32 [colours, 3]: often close in hue, often pale."""
    hue = rng.uniform(0, 180) + rng.normal(0, rng.choice([8, 60]), colours)
    saturation = 255 * rng.beta(1.2, 1.6, colours)
    value = 255 * rng.uniform(0.1, 1, colours)
    hsv = np.stack([hue % 180, saturation, value], axis=-1).astype(np.uint8)
    return cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0].astype(np.float32)


def colour(field: Field, palette: npt.NDArray[np.float32]) -> Image:
    """A scalar field in 0..1 through a palette [n, 3], linearly interpolated: uint8 [h, w, 3]."""
    positions = np.linspace(0, 1, len(palette))
    levels = np.linspace(0, 1, 256)
    table = np.stack([np.interp(levels, positions, channel) for channel in palette.T], axis=-1)
    return as_image(cv2.LUT(cv2.merge([(field * 255).astype(np.uint8)] * 3), table.astype(np.uint8)[None]))


def _faded(rng: np.random.Generator, image: Image) -> Image:
    """The image drawn towards its mean colour, half of the time: most real surfaces are quiet."""
    if rng.random() < 0.5:
        return image
    mean = np.array(cv2.mean(image)[:3])
    table = mean + (np.arange(256)[:, None] - mean) * rng.uniform(0.15, 0.8)
    return as_image(cv2.LUT(image, table.astype(np.uint8)[None]))


def sample_texture(rng: np.random.Generator, family: str) -> Texture:
    """Draw a texture of a family ("train" or "held_out")."""
    weights = KINDS[family]
    kind = str(rng.choice(list(weights), p=list(weights.values())))
    if kind == "photo":
        name = str(rng.choice(PHOTOGRAPHS[family]))
        image = photograph(name)
        if rng.random() < 0.3:
            image = image[..., rng.permutation(3)]
        kinds = frozenset({f"photo:{Path(name).stem}"})
        return Texture(_faded(rng, np.ascontiguousarray(image)), kinds)
    image = colour(_FIELDS[kind](rng), sample_palette(rng, int(rng.integers(2, 5))))
    # Nothing real is perfectly even: a little brightness noise on every pattern, sometimes strong.
    grain = octave_noise(rng, TILE, int(rng.choice([4, 32, 128])), 2)
    strength = np.float32(rng.choice([0.05, 0.15, 0.4]))
    gain = cv2.merge([1 + strength * (grain - 0.5)] * 3)
    image = as_image(cv2.multiply(image, gain, dtype=cv2.CV_8U))
    return Texture(_faded(rng, image), frozenset({f"texture:{kind}"}))
