"""Rotations over time as quaternions (w, x, y, z)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sam2_core.scenes.motion import Path


def turned(yaw: npt.ArrayLike, pitch: npt.ArrayLike = 0.0, roll: npt.ArrayLike = 0.0) -> Path:
    """Turn about the x axis by `roll`, then about y by `pitch`, then about z by `yaw` (radians): [T, 4]."""
    yaw, pitch, roll = (np.asarray(angle, np.float64) / 2 for angle in np.broadcast_arrays(yaw, pitch, roll))
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    return np.stack(
        [
            cr * cp * cy + sr * sp * sy,
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
        ],
        axis=-1,
    )
