"""The array types of the 2D scenes. OpenCV's annotations lose the dtype: the helpers here state it again."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]  # [H, W, 3] RGB, or [H, W]
Field = npt.NDArray[np.float32]  # [H, W]
Affine = npt.NDArray[np.float64]  # [2, 3], maps pixels (x, y) of one image to pixels of another


def as_image(array: cv2.typing.MatLike) -> Image:
    """The same pixels, as the uint8 array that they are."""
    return array.astype(np.uint8, copy=False)


def as_field(array: cv2.typing.MatLike) -> Field:
    """The same values, as float32."""
    return array.astype(np.float32, copy=False)
