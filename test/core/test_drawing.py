"""Overlays paint an object where it is; the contact sheet shows every frame and every timeline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from sam2_core.contact_sheet import Tile, Timeline, contact_sheet
from sam2_core.drawing import draw_click, draw_overlay, object_colour, object_title


@dataclass(frozen=True)
class Thing:
    id: int
    label: str
    mask: np.ndarray
    visible: bool = True


def disc(height: int, width: int, row: int, column: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:height, :width]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


@pytest.fixture
def grey() -> np.ndarray:
    return np.full((240, 320, 3), 90, np.uint8)


def test_the_fill_covers_exactly_the_mask_apart_from_the_name_plate(grey: np.ndarray) -> None:
    mask = disc(240, 320, 150, 200, 40)
    painted = draw_overlay(grey, [Thing(1, "ball", mask)])
    changed = (painted != grey).any(axis=2)
    assert changed[mask].all()
    outside = np.argwhere(changed & ~mask)
    assert len(outside) > 0, "the name plate"
    assert outside[:, 0].max() < 150, "nothing but the plate above the disc is touched"
    assert (grey == 90).all(), "the given image stays as it is"


def test_inside_is_a_blend_and_the_rim_is_the_pure_colour(grey: np.ndarray) -> None:
    mask = disc(240, 320, 150, 200, 40)
    painted = draw_overlay(grey, [Thing(2, "", mask)], opacity=0.5)
    colour = np.array(object_colour(2))
    np.testing.assert_allclose(painted[150, 200], (90 + colour) / 2, atol=1)
    assert (painted[150, 160] == colour).all()


def test_two_objects_keep_their_colours(grey: np.ndarray) -> None:
    things = [Thing(1, "a", disc(240, 320, 180, 80, 30)), Thing(2, "b", disc(240, 320, 180, 240, 30))]
    painted = draw_overlay(grey, things, opacity=1.0)
    assert tuple(painted[180, 80]) == object_colour(1)
    assert tuple(painted[180, 240]) == object_colour(2)


def test_a_hidden_object_is_listed_in_the_corner_and_not_filled(grey: np.ndarray) -> None:
    mask = disc(240, 320, 60, 200, 30)
    painted = draw_overlay(grey, [Thing(3, "cup", mask, visible=False)])
    changed = (painted != grey).any(axis=2)
    assert not changed[mask].any()
    rows, columns = np.nonzero(changed)
    assert rows.min() > 200
    assert columns.max() < 200


def test_an_empty_mask_and_an_object_at_the_border_are_fine(grey: np.ndarray) -> None:
    corner = disc(240, 320, 0, 319, 20)
    painted = draw_overlay(
        grey, [Thing(1, "", np.zeros((240, 320), bool)), Thing(2, "a long name here", corner)]
    )
    assert painted.shape == grey.shape
    assert (painted[corner] != 90).any()


def test_a_tiny_image_takes_a_plate_larger_than_itself() -> None:
    tiny = np.zeros((8, 8, 3), np.uint8)
    assert draw_overlay(tiny, [Thing(1, "an elephant", np.ones((8, 8), bool))]).any()


def test_a_mask_of_another_size_is_named(grey: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"object 4 is \(10, 20\); the image is \(240, 320\)"):
        draw_overlay(grey, [Thing(4, "", np.ones((10, 20), bool))])


def test_the_first_forty_colours_differ_and_are_stable() -> None:
    colours = [object_colour(i) for i in range(1, 41)]
    assert len(set(colours)) == 40
    assert colours == [object_colour(i) for i in range(1, 41)]
    assert object_title(3, "") == "3"
    assert object_title(3, "red mug") == "3 red mug"


def row_of(count: int, object_id: int) -> Timeline:
    times = np.arange(count) / 10
    half = np.arange(count) < count // 2
    return Timeline(object_id, "mug", times, half, np.where(half, 0.5, np.nan), half, note="IoU 0.50")


def test_tiles_lie_in_reading_order() -> None:
    shades = [40, 80, 120, 160, 200]
    tiles = [Tile(np.full((90, 120, 3), shade, np.uint8), float(i)) for i, shade in enumerate(shades)]
    sheet = contact_sheet(tiles, [], "title", columns=3, tile_width=300)
    found = [np.argwhere((sheet == shade).all(axis=2)).mean(axis=0) for shade in shades]
    assert found[0][0] == pytest.approx(found[2][0], abs=15)
    assert found[3][0] > found[0][0] + 150
    assert found[0][1] < found[1][1] < found[2][1]
    assert found[3][1] < found[4][1]


def test_a_timeline_has_its_bar_where_the_object_was_seen_and_as_high_as_its_iou() -> None:
    tiles = [Tile(np.zeros((90, 120, 3), np.uint8), t) for t in (0.0, 9.9)]
    sheet = contact_sheet(tiles, [row_of(100, 1), row_of(100, 2)], "title")
    for object_id in (1, 2):
        bar = (sheet[:, 200:] == object_colour(object_id)).all(axis=2)
        columns = np.flatnonzero(bar.any(axis=0))
        timeline_width = sheet.shape[1] - 200 - 28 - 28 - 190
        assert np.ptp(columns) == pytest.approx(timeline_width / 2, rel=0.05)
        assert np.flatnonzero(bar.any(axis=1)).size == pytest.approx(15, abs=2), "half of the row's height"


def test_times_are_written_as_the_format_says() -> None:
    tile = Tile(np.zeros((90, 120, 3), np.uint8), 7.0)
    seconds, frames, wordless = (
        contact_sheet([tile], [], "t", **given)
        for given in ({}, {"time_format": "#{:.0f}"}, {"time_format": ""})
    )
    assert (seconds != frames).any()
    assert (frames != wordless).any()
    again = contact_sheet([Tile(tile.image, 7.2)], [], "t", time_format="#{:.0f}")
    assert np.array_equal(frames, again), "#7 as well"


def test_more_objects_make_the_sheet_taller_and_no_tile_is_an_error() -> None:
    tile = Tile(np.zeros((90, 120, 3), np.uint8), 0.0)
    one, three = (contact_sheet([tile], [row_of(9, i + 1) for i in range(n)], "t") for n in (1, 3))
    assert three.shape[0] > one.shape[0]
    assert three.shape[1] == one.shape[1]
    with pytest.raises(ValueError, match="at least one tile"):
        contact_sheet([], [], "t")


@pytest.mark.parametrize(("positive", "centre"), [(True, object_colour(2)), (False, (0, 0, 0))])
def test_a_click_beside_the_object_has_a_black_centre(
    grey: np.ndarray, positive: bool, centre: tuple[int, int, int]
) -> None:
    draw_click(grey, 100.5, 50.5, 2, positive)
    assert tuple(grey[50, 100]) == centre
    assert (grey == object_colour(2)).all(axis=2).any()
    assert tuple(grey[50, 130]) == (90, 90, 90)
