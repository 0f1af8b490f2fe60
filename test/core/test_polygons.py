"""Polygons as masks, beside pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco

from sam2_core.polygons import fill_polygons

SIZE = (60, 80)


def test_a_pixel_belongs_to_a_polygon_that_holds_its_centre() -> None:
    mask = fill_polygons([[10.4, 20.4, 14.6, 20.4, 14.6, 22.6, 10.4, 22.6]], SIZE)
    assert np.argwhere(mask).min(axis=0).tolist() == [20, 10]
    assert np.argwhere(mask).max(axis=0).tolist() == [22, 14]
    assert fill_polygons([[10.7, 20.7, 13.3, 20.7, 13.3, 22.3, 10.7, 22.3]], SIZE).sum() == 2


def test_what_lies_outside_is_cut_off() -> None:
    assert fill_polygons([[-50, -50, 200, -50, 200, 200, -50, 200]], SIZE).all()
    assert not fill_polygons([[100, 10, 120, 10, 110, 30]], SIZE).any()


def test_parts_add_up() -> None:
    left, right = [0, 0, 10, 0, 10, 10, 0, 10], [20, 0, 30, 0, 30, 10, 20, 10]
    assert fill_polygons([left, right], SIZE).sum() == 200


@pytest.mark.filterwarnings("ignore::DeprecationWarning:pycocotools")
def test_the_masks_are_those_of_coco_but_for_the_outline() -> None:
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    for _ in range(20):
        radius = rng.uniform(8, 25, 12)
        corners = np.stack([40 + radius * np.cos(angles), 30 + radius * np.sin(angles)], axis=1)
        theirs = coco.decode(coco.merge(coco.frPyObjects([corners.ravel().tolist()], *SIZE))).astype(bool)
        ours = fill_polygons([corners.ravel().tolist()], SIZE)
        assert np.count_nonzero(ours & theirs) / np.count_nonzero(ours | theirs) > 0.95
        x, y = corners.T
        area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
        assert abs(ours.sum() - area) < 0.02 * area


@pytest.mark.parametrize("polygon", [[], [1, 2, 3, 4], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, float("nan")]])
def test_what_is_no_polygon_is_refused(polygon: list[float]) -> None:
    with pytest.raises(ValueError, match="three or more corners"):
        fill_polygons([polygon], SIZE)
