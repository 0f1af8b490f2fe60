"""What is drawn of one sprite: order, blur, bends and veils, each with labels that stay true."""

import numpy as np
import pytest

from sam2_core.scenes import grammar
from sam2_core.scenes.motion import absence
from sam2_core.scenes.sensor import Sensor
from sam2_core.scenes.sprites import Bend, Sprite, draw

AT = np.array([[1.0, 0, 12], [0, 1, 12]])


def disc(colour: tuple[int, int, int], veil: float | None = None) -> Sprite:
    y, x = np.mgrid[-20:21, -20:21]
    alpha = np.clip(20 - np.hypot(x, y), 0, 1).astype(np.float32)
    through = None if veil is None else np.full_like(alpha, veil)
    return Sprite(np.full((41, 41, 3), colour, np.uint8), alpha, "ellipse", frozenset(), through)


def canvas() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)


def test_the_object_in_front_owns_the_pixels_that_show_it():
    frame, labels = canvas()
    draw(disc((250, 0, 0)), np.array([[1.0, 0, 4], [0, 1, 10]]), frame, labels, 1)
    draw(disc((0, 250, 0)), np.array([[1.0, 0, 18], [0, 1, 10]]), frame, labels, 2)
    draw(disc((0, 0, 250)), np.array([[1.0, 0, 40], [0, 1, 10]]), frame, labels, 0)
    assert (frame[labels == 1, 0] > 100).all()
    assert (frame[labels == 2, 1] > 100).all()
    assert not labels[frame[..., 2] > 150].any(), "an occluder hides the labels below it"
    assert labels[30, 10] == 1
    assert labels[30, 34] == 2


@pytest.mark.parametrize("way", [(6.0, 0.0), (14.0, 5.0), (0.0, -21.0)])
def test_blur_is_symmetric_about_the_labels_of_the_middle_of_the_exposure(way):
    sharp, labels = canvas()
    draw(disc((240, 240, 240)), AT, sharp, labels, 1)
    blurred, middle = canvas()
    smear = np.array([[0, 0, way[0]], [0, 0, way[1]]])
    draw(disc((240, 240, 240)), AT, blurred, middle, 1, smear)
    np.testing.assert_array_equal(middle, labels)
    light = blurred[..., 0].astype(float)
    assert light.sum() == pytest.approx(float(sharp[..., 0].sum()), rel=0.03), "as much light as without"
    rows, columns = (np.average(axis, weights=light) for axis in np.indices(light.shape))
    assert (columns, rows) == pytest.approx((32, 32), abs=0.5)
    # A disc of 20 pixels reaches as far as it moves during half of the exposure.
    reach = np.argwhere(light > 4)[:, ::-1] - 32
    along = reach @ np.array(way) / np.hypot(*way)
    expected = min(20 + np.hypot(*way) / 2, 32)
    assert along.max() == pytest.approx(expected, abs=3)
    assert along.min() == pytest.approx(-expected, abs=3)


def test_a_bend_moves_picture_and_labels_alike_and_none_changes_nothing():
    waves = np.array([[0.0, 0.12]]), np.array([0.3]), np.array([0.2])
    pictures = []
    for push in (0.0, 5.0):
        frame, labels = canvas()
        draw(disc((240, 240, 240)), AT, frame, labels, 1, bend=Bend(np.array([[push, 0.0]]), *waves))
        assert ((frame[..., 0] > 120) == (labels == 1)).mean() > 0.99
        pictures.append(labels)
    _, plain = canvas()
    draw(disc((240, 240, 240)), AT, canvas()[0], plain, 1)
    assert (pictures[0] == plain).mean() > 0.99
    assert (pictures[1] != plain).sum() > 40


def test_a_bend_changes_from_frame_to_frame():
    bend = Bend(np.ones((1, 2)), np.ones((1, 2)), np.zeros(1), np.full(1, 0.5))
    points = np.zeros((1, 2))
    assert bend.at(0).shift(points) == pytest.approx(np.zeros((1, 2)))
    assert bend.at(2).shift(points) == pytest.approx(np.full((1, 2), np.sin(1)))


def test_what_is_behind_glass_shows_through_but_belongs_to_the_glass():
    frame, labels = canvas()
    draw(disc((0, 250, 0)), AT, frame, labels, 1)
    draw(disc((250, 0, 0), veil=0.4), AT, frame, labels, 2)
    assert labels[32, 32] == 2
    assert frame[32, 32] == pytest.approx((100, 150, 0), abs=4)


def test_siblings_are_alike_strangers_are_not():
    def draft(seed, instance):
        alpha = grammar.sample_shape(np.random.default_rng(instance), seed, "train", area=900)
        side = 128 - alpha.shape[0]
        before = side // 2
        return np.pad(alpha >= 0.5, (before, side - before))

    def iou(a, b):
        return (a & b).sum() / (a | b).sum()

    firsts, seconds = ([draft(seed, instance) for seed in range(30)] for instance in (0, 1))
    siblings = np.mean([iou(a, b) for a, b in zip(firsts, seconds, strict=True)])
    strangers = np.mean([iou(a, b) for a, b in zip(firsts[1:], seconds, strict=False)])
    assert siblings > strangers + 0.2
    assert len({first.tobytes() for first in firsts + seconds}) == 60


@pytest.mark.parametrize("family", ["train", "held_out"])
def test_a_shape_of_the_grammar_is_one_piece_about_as_large_as_asked_for(family):
    shares = []
    for seed in grammar.FAMILIES[family][:40]:
        alpha = grammar.sample_shape(np.random.default_rng(0), seed, family, area=2000)
        assert 0 <= alpha.min() <= alpha.max() <= 1
        shares.append(alpha.sum() / 2000)
    assert max(shares) < 1.4
    assert np.median(shares) == pytest.approx(1, abs=0.2)


def test_an_absence_lasts_as_long_as_asked_for_and_ends():
    for seed in range(20):
        share = absence(np.random.default_rng(seed), 60, shortest=20)
        away = np.flatnonzero(share == 1)
        assert len(away) + 1 >= 20
        assert np.all(np.diff(away) == 1)
        assert share[0] == share[-1] == 0


def test_a_recording_keeps_the_picture_and_its_size_but_not_its_pixels():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:45, 0:63]
    film = np.stack([np.stack([x * 4 + t, y * 5, x + y + 50], -1).clip(0, 255) for t in range(5)])
    film = (film + rng.integers(0, 9, film.shape)).clip(0, 255).astype(np.uint8)
    sensor = Sensor.sample(rng, 5, (45, 63))
    while (aged := sensor.aged(rng)).compression is None:
        np.testing.assert_array_equal(aged.record(film), film)
    recorded = aged.record(film)
    assert recorded.shape == film.shape
    assert 0 < np.abs(recorded.astype(int) - film).mean() < 12
    np.testing.assert_array_equal(aged.record(film), recorded)


def test_changing_light_changes_a_still_scene():
    rng = np.random.default_rng(1)
    sensor = Sensor.sample(rng, 30, (32, 32))
    while (aged := sensor.aged(rng)).later is None:
        pass
    grey = np.full((32, 32, 3), 100, np.uint8)
    brightness = [[s.expose(grey, t).mean() for t in range(30)] for s in (sensor, aged)]
    assert np.ptp(np.array(brightness[1]) - brightness[0]) > 2
