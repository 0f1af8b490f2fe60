"""What the long runs call growth of memory."""

from __future__ import annotations

from collections.abc import Sequence

SETTLED = 300
"""Frames after which memory should stay as it is."""


def growth_percent(values: Sequence[float]) -> float:
    """By how much the highest of some sizes lies above the first, in percent."""
    return 100.0 * (max(values) / values[0] - 1.0)
