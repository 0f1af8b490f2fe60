"""Moving cut-outs of the 2D scenes: a textured shape is painted once, then only warped and blended."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sam2_core.scenes.arrays import Affine, Field, Image, as_field, as_image
from sam2_core.scenes.shapes import sample_shape
from sam2_core.scenes.textures import Texture


@dataclass(frozen=True)
class Sprite:
    """One textured shape. `image` uint8 [n, n, 3]; `alpha` float32 [n, n] in 0..1; `kinds` as in `Scene`."""

    image: Image
    alpha: Field
    kind: str
    kinds: frozenset[str]

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the square, x and y in pixels (the centre of a pixel is a whole number)."""
        return (self.alpha.shape[1] - 1) / 2, (self.alpha.shape[0] - 1) / 2


def paint_sprite(rng: np.random.Generator, texture: Texture, area: float, family: str) -> Sprite:
    """A random shape of `area` square pixels in a random cut of `texture`, shaded, with antialiased edges."""
    kind, shape = sample_shape(rng, family)
    shape = [contour * area**0.5 for contour in shape]
    reach = max(float(np.abs(contour).max()) for contour in shape)
    side = 2 * int(np.ceil(reach)) + 4
    fixed = [np.round((contour + (side - 1) / 2) * 16).astype(np.int32) for contour in shape]
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, fixed, 255, cv2.LINE_AA, shift=4)
    alpha = as_field(mask) * np.float32(1 / 255)
    image = texture.cut(rng, (side, side), zoom=(0.4, 2.0))
    shaded = cv2.multiply(image, cv2.merge([_shading(rng, alpha)] * 3), dtype=cv2.CV_8U)
    return Sprite(as_image(shaded), alpha, kind, texture.kinds | {f"shape:{kind}"})


def _shading(rng: np.random.Generator, alpha: Field) -> Field:
    """Brightness of a pillow of this outline under a lamp at a random side, as a gain around 1."""
    small = cv2.resize(alpha, (32, 32), interpolation=cv2.INTER_AREA)
    height = cv2.GaussianBlur(small, (0, 0), rng.uniform(1, 5))
    slope_y, slope_x = np.gradient(height)
    lamp = rng.uniform(0, 2 * np.pi)
    strength = rng.choice([0.0, 2.0, 6.0])
    gain = (1 + strength * (slope_x * np.cos(lamp) + slope_y * np.sin(lamp))).clip(0.3, 1.7)
    return as_field(cv2.resize(as_field(gain), alpha.shape[::-1]))


def _window(matrix: Affine, side: int, size: tuple[int, int]) -> tuple[slice, slice] | None:
    """Rows and columns of the frame that a warped sprite may touch, None where it is outside."""
    square = np.array([[0, 0], [side, 0], [side, side], [0, side]])
    corners = square @ matrix[:, :2].T + matrix[:, 2]
    left, top = np.maximum(np.floor(corners.min(0)).astype(int) - 1, 0)
    right, bottom = np.minimum(np.ceil(corners.max(0)).astype(int) + 2, size[::-1])
    if left >= right or top >= bottom:
        return None
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def _warp(
    image: Image | Field, matrix: Affine, window: tuple[slice, slice], border: int
) -> cv2.typing.MatLike:
    rows, columns = window
    shifted = matrix - [[0, 0, columns.start], [0, 0, rows.start]]
    size = (columns.stop - columns.start, rows.stop - rows.start)
    return cv2.warpAffine(image, shifted, size, flags=cv2.INTER_LINEAR, borderMode=border)


def draw(sprite: Sprite, matrix: Affine, frame: Image, labels: Image, label: int | None = None) -> None:
    """Blend a sprite into `frame` and write `label` into `labels` where it covers at least half a pixel.

    `label` 0 hides what is below (an occluder); None leaves the labels alone (paint on the ground).
    """
    window = _window(matrix, sprite.alpha.shape[0], labels.shape)
    if window is None:
        return
    alpha = _warp(sprite.alpha, matrix, window, cv2.BORDER_CONSTANT)
    image = _warp(sprite.image, matrix, window, cv2.BORDER_REFLECT_101)
    frame[window] = cv2.blendLinear(image, frame[window], alpha, 1 - alpha)
    if label is not None:
        labels[window][alpha >= 0.5] = label


def draw_shadow(sprite: Sprite, matrix: Affine, frame: Image, softness: float, darkness: float) -> None:
    """Darken `frame` under a sprite by at most `darkness`, blurred by `softness` pixels."""
    window = _window(matrix, sprite.alpha.shape[0], frame.shape[:2])
    if window is None:
        return
    alpha = cv2.blur(_warp(sprite.alpha, matrix, window, cv2.BORDER_CONSTANT), (int(softness), int(softness)))
    gain = 1 - darkness * alpha
    frame[window] = cv2.multiply(frame[window], cv2.merge([gain] * 3), dtype=cv2.CV_8U)
