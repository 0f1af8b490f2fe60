"""Lines stand where their values are."""

from __future__ import annotations

import numpy as np

from sam2_core.chart import HEIGHT, MARGIN, WIDTH, Line, draw_chart

RED = (220, 30, 30)


def rows_of(chart: np.ndarray, column: int) -> np.ndarray:
    """Where a column of the chart is red, below the legend."""
    red = (chart[MARGIN - 5 :, column].astype(int) - RED).__abs__().max(axis=1) < 40
    return MARGIN - 5 + np.flatnonzero(red)


def test_a_line_goes_from_the_first_tick_to_the_last_and_from_0_to_1() -> None:
    chart = draw_chart([Line("J", [(1, 0.0), (3, 1.0)], RED)], "frames", [1, 2, 3])
    assert abs(rows_of(chart, MARGIN + 1).mean() - (HEIGHT - MARGIN)) < 3
    assert abs(rows_of(chart, WIDTH // 2).mean() - HEIGHT / 2) < 3
    assert abs(rows_of(chart, WIDTH - MARGIN - 1).mean() - MARGIN) < 3


def test_what_lies_above_1_is_drawn_at_1_and_points_are_marked() -> None:
    chart = draw_chart([Line("loss", [(0, 7.0), (10, 7.0)], RED, marked=True)], "steps", [0, 10])
    assert np.ptp(rows_of(chart, WIDTH // 2)) <= 3
    assert np.ptp(rows_of(chart, MARGIN + 1)) >= 6
    assert abs(rows_of(chart, WIDTH // 2).mean() - MARGIN) < 2
