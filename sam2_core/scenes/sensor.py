"""What a camera does to an ideal image: uneven light, exposure, blur, noise, grey or compressed pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from sam2_core.scenes.arrays import Image, as_image


@lru_cache(maxsize=8)
def _noise_tile(height: int, width: int) -> npt.NDArray[np.float32]:
    """Unit normal noise [height, width, 3], drawn once: a frame reads it from another corner each time."""
    return np.random.default_rng(0).standard_normal((height, width, 3), dtype=np.float32)


@dataclass(frozen=True)
class Sensor:
    """One camera over T frames of H x W pixels.

    Attributes:
        light: brightness gain over the view, float32 [H, W, 3], colour cast included.
        exposure: gain of each frame, float64 [T].
        blur: deviation of the lens blur in pixels; 0 is none.
        noise: deviation of the pixel noise in 8-bit steps; 0 is none.
        corners: where each frame reads the noise tile, int64 [T, 2].
        grey: whether the camera has no colour.
        quality: JPEG quality, or None for raw images.
    """

    light: npt.NDArray[np.float32]
    exposure: npt.NDArray[np.float64]
    blur: float
    noise: float
    corners: npt.NDArray[np.int64]
    grey: bool
    quality: int | None

    @staticmethod
    def sample(rng: np.random.Generator, frames: int, size: tuple[int, int]) -> Sensor:
        """Draw a camera for `frames` frames of `size` (height, width)."""
        height, width = size
        slope = rng.normal(0, 0.2, 2)
        y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
        gain = (1 + slope[0] * y + slope[1] * x).clip(0.3, 1.7)[..., None] * (1 + rng.normal(0, 0.06, 3))
        flicker = rng.normal(0, rng.choice([0.0, 0.01, 0.04]), frames)
        return Sensor(
            light=gain.astype(np.float32),
            exposure=rng.uniform(0.8, 1.25) * np.exp(flicker),
            blur=float(rng.choice([0.0, 0.0, 0.6, 1.1])) * (height * width) ** 0.5 / 256,
            noise=float(rng.choice([0.0, 2.0, 5.0, 10.0])),
            corners=rng.integers(0, 64, (frames, 2)),
            grey=bool(rng.random() < 0.06),
            quality=int(rng.integers(25, 90)) if rng.random() < 0.2 else None,
        )

    def expose(self, image: Image, index: int) -> Image:
        """Frame `index` as this camera sees it, uint8 [H, W, 3]."""
        height, width = image.shape[:2]
        if self.blur > 0:
            image = as_image(cv2.GaussianBlur(image, (0, 0), self.blur))
        lit = cv2.multiply(image, self.light, scale=float(self.exposure[index]), dtype=cv2.CV_32F)
        if self.noise > 0:
            row, column = self.corners[index]
            tile = _noise_tile(height + 64, width + 64)[row : row + height, column : column + width]
            lit = cv2.scaleAdd(tile, self.noise, lit)
        image = as_image(cv2.convertScaleAbs(np.maximum(lit, 0)))
        if self.grey:
            image = as_image(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))
        if self.quality is not None:
            # OpenCV takes these channels for BGR, both ways: the swap of red and blue does no harm.
            _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
            image = as_image(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)))
        return image
