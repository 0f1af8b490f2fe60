"""J and F on masks whose figures follow from the definitions by hand, and what holds for any masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sam2_core.evaluation.davis import (
    Statistics,
    boundary,
    boundary_accuracy,
    boundary_radius,
    statistics,
)

SIZE = (100, 100)
RADIUS = 2  # 0.008 of a diagonal of 141.4 pixels is 1.13 of them
SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 20))
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape)))


def columns(left: int, right: int) -> np.ndarray:
    """A vertical strip from border to border."""
    mask = np.zeros(SIZE, bool)
    mask[:, left:right] = True
    return mask


def pixel(y: int, x: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y, x] = True
    return mask


def test_the_boundary_lies_half_a_pixel_up_and_left() -> None:
    assert np.argwhere(boundary(pixel(40, 50))).tolist() == [[39, 49], [39, 50], [40, 49], [40, 50]]


def test_the_border_of_the_image_is_no_boundary() -> None:
    strip = boundary(columns(0, 30))
    assert np.flatnonzero(strip.any(axis=0)).tolist() == [29]
    assert strip[:, 29].all()
    assert not boundary(columns(0, 100)).any()


@pytest.mark.parametrize(("size", "radius"), [((30, 40), 1), (SIZE, RADIUS), ((480, 854), 8)])
def test_the_radius_is_a_share_of_the_diagonal_rounded_up(size: tuple[int, int], radius: int) -> None:
    assert boundary_radius(size) == radius


@pytest.mark.parametrize("shift", [-3, -2, -1, 0, 1, 2, 3])
def test_a_boundary_matches_up_to_the_radius_and_not_beyond(shift: int) -> None:
    assert boundary_accuracy(columns(0, 50 + shift), columns(0, 50)) == (abs(shift) <= RADIUS)


def test_precision_and_recall_weigh_in_alike() -> None:
    assert boundary_accuracy(columns(10, 30), columns(10, 60)) == 1 / 2, "one of two lines in both"
    one_line = columns(10, 100)
    assert boundary_accuracy(one_line, columns(10, 60)) == pytest.approx(2 / 3), "precision 1, recall 1/2"
    assert boundary_accuracy(columns(10, 60), one_line) == pytest.approx(2 / 3), "precision 1/2, recall 1"


def test_the_tolerance_is_a_disk() -> None:
    # The boundary of a pixel is 2 pixels wide: 3 aside, its nearer column is 2 away, its farther one 3.
    assert boundary_accuracy(pixel(40, 53), pixel(40, 50)) == 1 / 2
    # Its nearest corners are 2 away in each direction, so 2.8 in all.
    assert boundary_accuracy(pixel(43, 53), pixel(40, 50)) == 0


def test_a_missing_boundary_matches_only_a_missing_one() -> None:
    empty, whole = columns(0, 0), columns(0, 100)
    assert boundary_accuracy(empty, empty) == 1
    assert boundary_accuracy(empty, pixel(5, 5)) == 0
    assert boundary_accuracy(pixel(5, 5), empty) == 0
    assert boundary_accuracy(whole, empty) == 1, "the border is no boundary"


@given(PAIRS)
def test_f_is_a_symmetric_share_and_one_of_equal_masks(pair: tuple[np.ndarray, np.ndarray]) -> None:
    one, other = pair
    found = boundary_accuracy(one, other)
    assert 0 <= found <= 1
    assert found == pytest.approx(boundary_accuracy(other, one))
    assert boundary_accuracy(one, one) == 1


@given(PAIRS)
def test_what_lies_far_away_changes_nothing(pair: tuple[np.ndarray, np.ndarray]) -> None:
    """The same two boundaries amid a larger image, where the radius is still the same."""
    corners = [(5, 5), (60, 40)]
    placed = [[np.zeros((90, 80), bool) for _ in pair] for _ in corners]
    for (top, left), canvases in zip(corners, placed, strict=True):
        for canvas, mask in zip(canvases, pair, strict=True):
            canvas[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    assert boundary_accuracy(*placed[0]) == boundary_accuracy(*placed[1])


def test_masks_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(100, 100\) and \(3, 3\)"):
        boundary_accuracy(columns(0, 1), np.zeros((3, 3), bool))


def test_statistics_of_eight_frames() -> None:
    found = statistics([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    assert found.mean == pytest.approx(0.55)
    assert found.recall == 4 / 8, "0.5 is not above 0.5"
    # A quarter of the way from frame 1 to frame 8 is 2.75, three quarters are 6.25: frames 1 to 3, 6 to 8.
    assert found.decay == pytest.approx(0.8 - 0.3)


def test_the_quarters_of_three_frames_round_up() -> None:
    # 1.5 and 2.5 round to 2 and 3: frames 1 to 2, and frame 3.
    assert statistics([1.0, 0.0, 0.25]).decay == pytest.approx(0.5 - 0.25)


def test_a_single_frame_does_not_decay_and_none_has_no_statistics() -> None:
    assert statistics([0.75]) == Statistics(0.75, 1.0, 0.0)
    with pytest.raises(ValueError, match="no frame"):
        statistics([])


def test_a_long_video_decays_like_a_short_one() -> None:
    assert statistics([1.0] * 300 + [0.0] * 300).decay == 1
