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


def absence(rng: np.random.Generator, frames: int, shortest: int = 3) -> Path:
    """A plateau [frames] between 0 and 1: a way, a stay of at least `shortest` frames, and the way back.

    It begins after the first frames. A film that is too short for all of it ends before the way back.
    """
    fade = rng.uniform(2, 6)
    longest = max(frames - shortest - 3 * fade, 0)
    stay = shortest + rng.uniform(0, min(longest, 25))
    start = rng.uniform(1, max(frames - stay - 2 * fade - 4, 3))
    time = np.arange(frames) - start
    share = np.clip(np.minimum(time, 2 * fade + stay - time) / fade, 0, 1)
    return np.asarray(share**2 * (3 - 2 * share))
