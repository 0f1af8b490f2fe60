"""Ways of moving through the view. A course is a path [T, 2] of x, y in units of the view from its middle.

`pace` is about how many hundredths of the view a thing moves in a frame.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sam2_core.scenes.motion import Path, wander


def _start(rng: np.random.Generator) -> Path:
    return np.asarray(rng.uniform(-0.4, 0.4, 2))


def _still(rng: np.random.Generator, frames: int, pace: float) -> Path:
    return np.tile(_start(rng), (frames, 1))


def _wander(rng: np.random.Generator, frames: int, pace: float) -> Path:
    return _start(rng) + wander(rng, frames, 0.02 * pace, 2)


def _dash(rng: np.random.Generator, frames: int, pace: float) -> Path:
    """Straight through the view, fast; in its middle at some moment of the film."""
    heading = rng.uniform(0, 2 * np.pi)
    speed = rng.uniform(0.02, 0.06) * max(pace, 0.5)
    time = np.arange(frames) - rng.uniform(0, frames)
    return _start(rng) / 2 + speed * time[:, None] * [np.cos(heading), 0.4 * np.sin(heading)]


def _cross(rng: np.random.Generator, frames: int, pace: float) -> Path:
    """To and fro between two places."""
    ends = rng.uniform(-0.45, 0.45, (2, 2))
    period = 40 * rng.uniform(0.6, 2) / max(pace, 0.2)
    share = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frames) / period + rng.uniform(0, 2 * np.pi))
    return ends[0] + share[:, None] * (ends[1] - ends[0])


def _bounce(rng: np.random.Generator, frames: int, pace: float) -> Path:
    """Thrown up again and again, as a ball, while it drifts sideways."""
    x, floor = _start(rng)
    period = rng.uniform(14, 40) / max(pace, 0.3) ** 0.5
    phase = (np.arange(frames) / period + rng.random()) % 1
    height = rng.uniform(0.2, 0.8) * 4 * phase * (1 - phase)
    sideways = x + wander(rng, frames, 0.008 * pace)[:, 0]
    return np.stack([sideways, np.abs(floor) + 0.05 - height], axis=-1)


def _orbit(rng: np.random.Generator, frames: int, pace: float) -> Path:
    angle = rng.uniform(0, 2 * np.pi) + rng.choice([-1, 1]) * 0.08 * pace * np.arange(frames)
    return _start(rng) / 2 + rng.uniform(0.1, 0.4, 2) * np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _pendulum(rng: np.random.Generator, frames: int, pace: float) -> Path:
    """About a pivot above the view."""
    swing = rng.uniform(0.2, 0.7) * np.sin(0.12 * pace * np.arange(frames) + rng.uniform(0, 2 * np.pi))
    length = rng.uniform(0.5, 1.1)
    x, y = _start(rng)
    return np.stack([x + length * np.sin(swing), y - length + length * np.cos(swing)], axis=-1)


def _stop_and_go(rng: np.random.Generator, frames: int, pace: float) -> Path:
    """Rests, and darts to another place."""
    every = 20 / max(pace, 0.4)
    places = rng.uniform(-0.4, 0.4, (int(frames / every) + 2, 2))
    stop, phase = np.divmod(np.arange(frames) / every, 1)
    share = np.clip((phase - 0.6) / 0.4, 0, 1)[:, None]
    index = stop.astype(int)
    return np.asarray(places[index] + share**2 * (3 - 2 * share) * (places[index + 1] - places[index]))


_COURSES: dict[str, Callable[[np.random.Generator, int, float], Path]] = {
    "still": _still,
    "wander": _wander,
    "dash": _dash,
    "cross": _cross,
    "bounce": _bounce,
    "orbit": _orbit,
    "pendulum": _pendulum,
    "stop_and_go": _stop_and_go,
}

# Ways of each family with how often each is drawn.
KINDS: dict[str, dict[str, float]] = {
    "train": {"still": 0.1, "wander": 0.4, "dash": 0.12, "cross": 0.22, "bounce": 0.16},
    "held_out": {"orbit": 0.35, "pendulum": 0.3, "stop_and_go": 0.35},
}


def sample_course(rng: np.random.Generator, frames: int, pace: float, family: str) -> tuple[str, Path]:
    """Draw the kind of a course of a family, and the course."""
    weights = KINDS[family]
    kind = str(rng.choice(list(weights), p=list(weights.values())))
    return kind, _COURSES[kind](rng, frames, pace)
