"""What a camera does to an ideal image: uneven light, exposure, blur, noise, grey or compressed pictures.

And what the recording of a film does to it: compression as a video.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import av
import cv2
import numpy as np
import numpy.typing as npt

from sam2_core.scenes.arrays import Image, as_field, as_image


@lru_cache(maxsize=8)
def _noise_tile(height: int, width: int) -> npt.NDArray[np.float32]:
    """Unit normal noise [height, width, 3], drawn once: a frame reads it from another corner each time."""
    return np.random.default_rng(0).standard_normal((height, width, 3), dtype=np.float32)


def _sample_light(rng: np.random.Generator, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """A brightness gain that slopes over the view, with a colour cast: float32 [H, W, 3]."""
    height, width = size
    slope = rng.normal(0, 0.2, 2)
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    gain = (1 + slope[0] * y + slope[1] * x).clip(0.3, 1.7)[..., None] * (1 + rng.normal(0, 0.06, 3))
    return gain.astype(np.float32)


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
        later: the light towards which `light` changes, in the same form, or None where it stays.
        progress: how far each frame is on the way to it, 0..1, float64 [T].
        compression: the H.264 rate factor (0..51, higher is worse) of the recording, or None for no video.
    """

    light: npt.NDArray[np.float32]
    exposure: npt.NDArray[np.float64]
    blur: float
    noise: float
    corners: npt.NDArray[np.int64]
    grey: bool
    quality: int | None
    later: npt.NDArray[np.float32] | None = None
    progress: npt.NDArray[np.float64] | None = None
    compression: int | None = None

    @staticmethod
    def sample(rng: np.random.Generator, frames: int, size: tuple[int, int]) -> Sensor:
        """Draw a camera for `frames` frames of `size` (height, width)."""
        height, width = size
        light = _sample_light(rng, size)
        flicker = rng.normal(0, rng.choice([0.0, 0.01, 0.04]), frames)
        return Sensor(
            light=light,
            exposure=rng.uniform(0.8, 1.25) * np.exp(flicker),
            blur=float(rng.choice([0.0, 0.0, 0.6, 1.1])) * (height * width) ** 0.5 / 256,
            noise=float(rng.choice([0.0, 2.0, 5.0, 10.0])),
            corners=rng.integers(0, 64, (frames, 2)),
            grey=bool(rng.random() < 0.06),
            quality=int(rng.integers(25, 90)) if rng.random() < 0.2 else None,
        )

    def aged(self, rng: np.random.Generator) -> Sensor:
        """The same camera, sometimes in light that changes, sometimes recorded as a poor video."""
        frames = len(self.exposure)
        changed = self
        if rng.random() < 0.3:
            pace = rng.uniform(0.5, 3) * 2 * np.pi / max(frames, 16)
            progress = 0.5 - 0.5 * np.cos(pace * np.arange(frames) + rng.uniform(0, 2 * np.pi))
            later = _sample_light(rng, self.light.shape[:2]) * np.float32(np.exp(rng.normal(0, 0.4)))
            changed = replace(changed, later=later, progress=progress)
        if rng.random() < 0.2:
            changed = replace(changed, compression=int(rng.integers(26, 42)))
        return changed

    def _light(self, index: int) -> npt.NDArray[np.float32]:
        if self.later is None or self.progress is None:
            return self.light
        share = float(self.progress[index])
        return as_field(cv2.addWeighted(self.light, 1 - share, self.later, share, 0))

    def expose(self, image: Image, index: int) -> Image:
        """Frame `index` as this camera sees it, uint8 [H, W, 3]."""
        height, width = image.shape[:2]
        if self.blur > 0:
            image = as_image(cv2.GaussianBlur(image, (0, 0), self.blur))
        lit = cv2.multiply(image, self._light(index), scale=float(self.exposure[index]), dtype=cv2.CV_32F)
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

    def record(self, images: Image) -> Image:
        """The exposed frames [T, H, W, 3] as they come back from the recording."""
        return images if self.compression is None else _through_video(images, self.compression)


def _through_video(images: Image, compression: int) -> Image:
    """The frames after H.264 in 4:2:0, which wants sides of even length."""
    height, width = images.shape[1:3]
    coder = av.VideoCodecContext.create("libx264", "w")
    coder.width, coder.height, coder.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    coder.time_base, coder.thread_count = Fraction(1, 30), 1
    coder.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": str(compression)}
    decoder = av.VideoCodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoded = []
    for index in range(len(images) + 1):
        frame = None
        if index < len(images):
            even = np.pad(images[index], ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            frame = av.VideoFrame.from_ndarray(even, "rgb24")
            frame.pts = index
        for packet in coder.encode(frame):
            decoded += decoder.decode(packet)
    decoded += decoder.decode(None)
    pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])
    return pictures[:, :height, :width].astype(np.uint8, copy=False)
