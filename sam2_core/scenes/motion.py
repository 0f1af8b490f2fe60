"""Smooth random paths, shared by the 2D and the tabletop scenes. Time is counted in frames."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Path = npt.NDArray[np.float64]  # [T] or [T, dimensions], one row per frame


def wander(
    rng: np.random.Generator,
    frames: int,
    speed: float,
    dimensions: int = 1,
    period: tuple[float, float] = (8, 60),
) -> Path:
    """A path [frames, dimensions] from 0 of about `speed` per frame that swings with a period in `period`."""
    time = np.arange(frames)[:, None]
    turn = 2 * np.pi / np.exp(rng.uniform(np.log(period[0]), np.log(period[1]), dimensions))
    phase = rng.uniform(0, 2 * np.pi, dimensions)
    return np.asarray(rng.normal(0, speed, dimensions) / turn * (np.sin(turn * time + phase) - np.sin(phase)))


def excursion(rng: np.random.Generator, frames: int) -> Path:
    """A bump [frames] from 0 to 1 and back at a random time: the way out of the view and back."""
    length = rng.uniform(4, max(8, min(20, frames)))
    start = rng.uniform(-0.3 * length, max(frames - 0.7 * length, 0.1))
    phase = np.clip((np.arange(frames) - start) / length, 0, 1)
    return np.asarray(np.minimum(1.0, 1.4 * np.sin(np.pi * phase)))
