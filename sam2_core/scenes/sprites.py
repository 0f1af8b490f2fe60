"""Moving cut-outs of the 2D scenes: a textured shape is painted once, then only warped and blended."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from sam2_core.scenes.arrays import Affine, Field, Image, as_field, as_image
from sam2_core.scenes.shapes import Shape, sample_shape
from sam2_core.scenes.textures import Texture

LEAST_SMEAR = 2.0  # pixels; who moves less during an exposure is drawn sharp
_CELL = 8  # pixels of the grid on which a bend is computed


@dataclass(frozen=True)
class Sprite:
    """One textured shape. `image` uint8 [n, n, 3]; `alpha` float32 [n, n] in 0..1; `kinds` as in `Scene`.

    `alpha` is what it covers; `veil`, float32 [n, n] in 0..1, is how much it hides of what it covers, None
    for all.
    """

    image: Image
    alpha: Field
    kind: str
    kinds: frozenset[str]
    veil: Field | None = None

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the square, x and y in pixels (the centre of a pixel is a whole number)."""
        return (self.alpha.shape[1] - 1) / 2, (self.alpha.shape[0] - 1) / 2

    @cached_property
    def layer(self) -> Image:
        """Colours times opacity, and the opacity: uint8 [n, n, 4]. Such pixels may be warped and averaged."""
        opacity = self.alpha if self.veil is None else self.alpha * self.veil
        colours = cv2.multiply(self.image, cv2.merge([opacity] * 3), dtype=cv2.CV_8U)
        return np.dstack([colours, (opacity * 255).astype(np.uint8)])


@dataclass(frozen=True)
class Bend:
    """A smooth warp of a sprite's square that changes over time: a sum of W plane waves.

    `push` [W, 2] in pixels; `wave` [W, 2] in radians per pixel; `phase` [W] in radians; `speed` [W] in
    radians per frame.
    """

    push: npt.NDArray[np.float64]
    wave: npt.NDArray[np.float64]
    phase: npt.NDArray[np.float64]
    speed: npt.NDArray[np.float64]

    def at(self, frame: int) -> Bend:
        """The warp of one frame."""
        return replace(self, phase=self.phase + self.speed * frame)

    def shift(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Where the pixels shown at these points [..., 2] come from, relative to them."""
        return np.asarray(np.sin(points @ self.wave.T + self.phase) @ self.push)


def paint_sprite(rng: np.random.Generator, texture: Texture, area: float, family: str) -> Sprite:
    """A random shape of `area` square pixels in a random cut of `texture`, shaded, with antialiased edges."""
    kind, shape = sample_shape(rng, family)
    shape = [contour * area**0.5 for contour in shape]
    reach = max(float(np.abs(contour).max()) for contour in shape)
    side = 2 * int(np.ceil(reach)) + 4
    mask = np.zeros((side, side), np.uint8)
    fill(mask, shape, 255)
    alpha = as_field(mask) * np.float32(1 / 255)
    image = shade(rng, texture.cut(rng, (side, side), zoom=(0.4, 2.0)), alpha)
    return Sprite(image, alpha, kind, texture.kinds | {f"shape:{kind}"})


def fill(mask: Image, shape: Shape, value: int) -> None:
    """Paint the inside of contours in pixels around the middle of a square mask, edges antialiased."""
    fixed = [np.round((contour + (mask.shape[0] - 1) / 2) * 16).astype(np.int32) for contour in shape]
    cv2.fillPoly(mask, fixed, value, cv2.LINE_AA, shift=4)


def shade(rng: np.random.Generator, image: Image, alpha: Field) -> Image:
    """The image [n, n, 3] lit from a random side, as if the outline `alpha` were that of a pillow."""
    return as_image(cv2.multiply(image, cv2.merge([_shading(rng, alpha)] * 3), dtype=cv2.CV_8U))


def _shading(rng: np.random.Generator, alpha: Field) -> Field:
    """Brightness of a pillow of this outline under a lamp at a random side, as a gain around 1."""
    small = cv2.resize(alpha, (32, 32), interpolation=cv2.INTER_AREA)
    height = cv2.GaussianBlur(small, (0, 0), rng.uniform(1, 5))
    slope_y, slope_x = np.gradient(height)
    lamp = rng.uniform(0, 2 * np.pi)
    strength = rng.choice([0.0, 2.0, 6.0])
    gain = (1 + strength * (slope_x * np.cos(lamp) + slope_y * np.sin(lamp))).clip(0.3, 1.7)
    return as_field(cv2.resize(as_field(gain), alpha.shape[::-1]))


def _window(
    matrix: Affine, side: int, size: tuple[int, int], margin: float = 0.0
) -> tuple[slice, slice] | None:
    """Rows and columns of the frame that a warped sprite may touch within a margin, None if it is outside."""
    sides = []
    for (a, b, offset), limit in zip(matrix.tolist(), size[::-1], strict=True):
        low, high = side * (min(a, 0.0) + min(b, 0.0)), side * (max(a, 0.0) + max(b, 0.0))
        start = max(math.floor(low + offset - margin) - 1, 0)
        stop = min(math.ceil(high + offset + margin) + 2, limit)
        if start >= stop:
            return None
        sides.append(slice(start, stop))
    return sides[1], sides[0]


def _warp(
    image: Image | Field, matrix: Affine, window: tuple[slice, slice], border: int, bend: Bend | None = None
) -> cv2.typing.MatLike:
    rows, columns = window
    size = (columns.stop - columns.start, rows.stop - rows.start)
    if bend is not None:
        source = _bent(matrix, window, bend)
        return cv2.remap(image, source, np.empty(0), cv2.INTER_LINEAR, borderMode=border)
    shifted = matrix - [[0, 0, columns.start], [0, 0, rows.start]]
    return cv2.warpAffine(image, shifted, size, flags=cv2.INTER_LINEAR, borderMode=border)


def _bent(matrix: Affine, window: tuple[slice, slice], bend: Bend) -> npt.NDArray[np.float32]:
    """Where each pixel of the window comes from, float32 [h, w, 2]: found on a coarse grid, then enlarged."""
    rows, columns = window
    height, width = rows.stop - rows.start, columns.stop - columns.start
    # A cell's value belongs to its middle; one more cell on every side spares the extrapolation.
    x, y = ((np.arange(-(-side // _CELL) + 2) - 0.5) * _CELL - 0.5 for side in (width, height))
    target = np.stack(np.meshgrid(x + columns.start, y + rows.start), axis=-1)
    inverse = np.linalg.inv(matrix[:, :2])
    source = (target - matrix[:, 2]) @ inverse.T
    source += bend.shift(source)
    fine = cv2.resize(source.astype(np.float32), None, fx=_CELL, fy=_CELL, interpolation=cv2.INTER_LINEAR)
    return as_field(fine[_CELL : _CELL + height, _CELL : _CELL + width])


def smear_reach(smear: Affine, low: tuple[float, float], high: tuple[float, float]) -> float:
    """How many pixels, at most, the corners (x, y) of a rectangle move as their pose changes by `smear`."""
    corners = [(x, y) for x in (low[0], high[0]) for y in (low[1], high[1])]
    return max(abs(a * x + b * y + offset) for a, b, offset in smear.tolist() for x, y in corners)


def smeared(
    image: Image,
    matrix: Affine,
    smear: Affine,
    reach: float,
    window: tuple[slice, slice],
    border: int,
    bend: Bend | None = None,
) -> Image:
    """The mean of an image over poses from `matrix` - `smear` / 2 to `matrix` + `smear` / 2, in the window.

    A power of two of poses, two to four pixels apart: what is averaged so far is moved on and averaged
    again, by twice the way each time. `reach` is that of the smear. A long one is found at half the size.
    """
    rows, columns = window
    size = (columns.stop - columns.start, rows.stop - rows.start)
    levels = int(np.clip(np.ceil(np.log2(reach / 4)), 1, 5))
    zoom = 0.5 if reach > 8 else 1.0
    pad = math.ceil(reach) // 2 * 2 + 2
    # Into the coordinates of the padded window, in which whole numbers are the centres of pixels.
    start = matrix - smear / 2 * (1 - 0.5**levels)
    start = zoom * (start - [[0, 0, columns.start - pad - 0.5], [0, 0, rows.start - pad - 0.5]])
    start[:, 2] -= 0.5
    wide = (slice(0, round(zoom * (size[1] + 2 * pad))), slice(0, round(zoom * (size[0] + 2 * pad))))
    total = _warp(image, start, wide, border, bend)
    step = np.eye(3)
    step[:2] += zoom * 0.5**levels * smear @ np.vstack([cv2.invertAffineTransform(start), [0, 0, 1]])
    for _ in range(levels):
        moved = cv2.warpAffine(total, step[:2], total.shape[1::-1], borderMode=border)
        total = cv2.addWeighted(total, 0.5, moved, 0.5, 0)
        step = step @ step
    if zoom != 1:
        total = cv2.resize(total, None, fx=1 / zoom, fy=1 / zoom, interpolation=cv2.INTER_LINEAR)
    return as_image(total[pad : pad + size[1], pad : pad + size[0]])


def draw(
    sprite: Sprite,
    matrix: Affine,
    frame: Image,
    labels: Image,
    label: int | None = None,
    smear: Affine | None = None,
    bend: Bend | None = None,
) -> None:
    """Blend a sprite into `frame` and write `label` into `labels` where it covers at least half a pixel.

    `label` 0 hides what is below (an occluder); None leaves the labels alone (paint on the ground). `smear`
    is how much `matrix` changes during the exposure; the labels are those of its middle.
    """
    side = sprite.alpha.shape[0]
    reach = 0.0 if smear is None else smear_reach(smear, (0, 0), (side, side))
    moves = smear is not None and reach >= LEAST_SMEAR
    window = _window(matrix, side, labels.shape, reach / 2 if moves else 0)
    if window is None:
        return
    alpha = _warp(sprite.alpha, matrix, window, cv2.BORDER_CONSTANT, bend)
    if smear is not None and moves:
        _blend(smeared(sprite.layer, matrix, smear, reach, window, cv2.BORDER_CONSTANT, bend), frame[window])
    elif sprite.veil is not None:
        _blend(as_image(_warp(sprite.layer, matrix, window, cv2.BORDER_CONSTANT, bend)), frame[window])
    else:
        image = _warp(sprite.image, matrix, window, cv2.BORDER_REFLECT_101, bend)
        frame[window] = cv2.blendLinear(image, frame[window], alpha, 1 - alpha)
    if label is not None:
        labels[window][alpha >= 0.5] = label


def _blend(layer: Image, below: Image) -> None:
    """Put a `Sprite.layer` on top of `below`, in place."""
    through = cv2.bitwise_not(cv2.extractChannel(layer, 3))
    dimmed = cv2.multiply(below, cv2.merge([through] * 3), scale=1 / 255)
    below[:] = cv2.add(dimmed, cv2.cvtColor(layer, cv2.COLOR_RGBA2RGB))


def draw_shadow(sprite: Sprite, matrix: Affine, frame: Image, softness: float, darkness: float) -> None:
    """Darken `frame` under a sprite by at most `darkness`, blurred by `softness` pixels."""
    window = _window(matrix, sprite.alpha.shape[0], frame.shape[:2])
    if window is None:
        return
    alpha = cv2.blur(_warp(sprite.alpha, matrix, window, cv2.BORDER_CONSTANT), (int(softness), int(softness)))
    gain = 1 - darkness * alpha
    frame[window] = cv2.multiply(frame[window], cv2.merge([gain] * 3), dtype=cv2.CV_8U)
