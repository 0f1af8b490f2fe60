"""What a clip is changed into: the truth goes where the pixels go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_core.training.augmentation import (
    OUTSIDE,
    crop_and_flip,
    mosaic,
    move,
    shift_colours,
    turn_and_shear,
)
from sam2_core.training.clip import Clip

RED, GREEN, BLUE = (200, 20, 20), (20, 200, 20), (20, 20, 200)
SIZE = 128


@pytest.fixture
def clip() -> Clip:
    """A red bar and a green square that move to the right over blue, two frames of 96 x 160 pixels."""
    frames = np.full((2, 96, 160, 3), BLUE, np.uint8)
    for t, frame in enumerate(frames):
        frame[30:44, 40 + 8 * t : 110 + 8 * t] = RED
        frame[54:80, 60 + 8 * t : 86 + 8 * t] = GREEN
    masks = np.stack([coloured(frames, RED), coloured(frames, GREEN)], axis=1)
    return Clip(frames, masks, np.ones((2, 2), bool))


def coloured(frames: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Where frames [..., 3] have a colour, or nearly."""
    return np.abs(frames.astype(int) - colour).max(axis=-1) < 60


def share_alike(masks: NDArray[np.bool_], others: NDArray[np.bool_]) -> float:
    return float((masks & others).sum() / (masks | others).sum())


def test_the_masks_go_where_the_pixels_go(clip: Clip) -> None:
    rng = np.random.default_rng(0)
    angles = []
    for _ in range(40):
        moved = move(clip, SIZE, 0.0, rng)
        assert moved.frames.shape == (2, SIZE, SIZE, 3)
        assert moved.masks.shape == (2, 2, SIZE, SIZE)
        for index, colour in enumerate((RED, GREEN)):
            if moved.masks[:, index].sum() > 400:
                assert share_alike(moved.masks[:, index], coloured(moved.frames, colour)) > 0.85
        rows, columns = np.nonzero(moved.masks[0, 0])
        angles.append(np.polyfit(columns, rows, 1)[0] if len(rows) > 400 else 0.0)
    assert min(angles) < -0.2
    assert max(angles) > 0.2
    assert np.mean(np.abs(angles) < 0.02) > 0.3, "about half of the clips are not turned"


@pytest.mark.parametrize("sides", [(192, 320), (480, 854), (256, 256)])
def test_a_resized_mask_has_the_middle_of_its_object(sides: tuple[int, int]) -> None:
    rows, columns = np.indices(sides)
    disc = (rows - sides[0] / 2.1) ** 2 + (columns - sides[1] / 1.9) ** 2 < (0.2 * sides[0]) ** 2
    frames = np.repeat(np.where(disc, 255, 0).astype(np.uint8)[None, ..., None], 3, axis=3)
    clip = Clip(frames, disc[None, None], np.ones((1, 1), bool))
    rng = np.random.default_rng(0)
    beside = []
    for _ in range(20):
        changed = crop_and_flip(clip, SIZE, rng)
        brightness = changed.frames[0, :, :, 0] / 255
        where = np.indices(brightness.shape)
        middles = [
            (where * weight).sum(axis=(1, 2)) / weight.sum() for weight in (brightness, changed.masks[0, 0])
        ]
        beside.append(middles[1] - middles[0])
    assert np.abs(beside).max() < 0.15
    assert np.abs(np.mean(beside, axis=0)).max() < 0.03


def test_what_comes_in_from_outside_is_nothing(clip: Clip) -> None:
    turned = turn_and_shear(clip, np.random.default_rng(3))
    corners = turned.frames[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == OUTSIDE).all(axis=-1).any()
    assert not turned.masks[..., [0, 0, -1, -1], [0, -1, 0, -1]].any()


@pytest.mark.parametrize(
    "change", [lambda clip, rng: move(clip, SIZE, 0.0, rng), turn_and_shear], ids=["move", "turn_and_shear"]
)
def test_all_frames_are_changed_alike(
    clip: Clip, change: Callable[[Clip, np.random.Generator], Clip]
) -> None:
    still = Clip(clip.frames[[0, 0]], clip.masks[[0, 0]], clip.known)
    for seed in range(10):
        changed = change(still, np.random.default_rng(seed))
        np.testing.assert_array_equal(*changed.frames)
        np.testing.assert_array_equal(*changed.masks)


def test_a_mosaic_shows_four_and_means_one(clip: Clip) -> None:
    rng = np.random.default_rng(0)
    places = set()
    for _ in range(40):
        tiled = mosaic(clip, rng)
        red, mask = coloured(tiled.frames, RED), tiled.masks[:, 0]
        assert tiled.frames.shape == (2, 192, 320, 3)
        assert red.sum() == 4 * mask.sum() > 0
        assert (mask <= red).all()
        rows, columns = np.nonzero(mask[0])
        places.add((rows.min() >= 96, columns.min() >= 160))
    assert len(places) == 4


def test_only_several_frames_become_a_mosaic(clip: Clip) -> None:
    always = np.nextafter(1.0, 0.0)
    rng = np.random.default_rng(0)
    tiled = move(clip, SIZE, always, rng)
    assert tiled.frames.shape == (2, SIZE, SIZE, 3)
    half = SIZE // 2
    np.testing.assert_array_equal(tiled.frames[:, :half, :half], tiled.frames[:, half:, half:])
    image = Clip(clip.frames[:1], clip.masks[:1], clip.known[:1])
    moved = move(image, SIZE, always, rng)
    assert not np.array_equal(moved.frames[:, :half, :half], moved.frames[:, half:, half:])


def test_the_light_changes_from_frame_to_frame(clip: Clip) -> None:
    rng = np.random.default_rng(0)
    still = clip.frames[[0, 0]]
    greys = alike = 0
    for _ in range(60):
        shifted = shift_colours(still, rng)
        assert shifted.dtype == np.uint8
        assert shifted.shape == still.shape
        first, second = shifted.astype(float).mean(axis=(1, 2, 3))
        alike += first == second
        assert abs(first - second) < 0.25 * max(first, second)
        greys += int(np.ptp(shifted[..., :40, :40, :].astype(int), axis=-1).max() < 20)
    assert alike < 20, "in clips whose colours are as bright as can be"
    assert greys < 20, "most clips keep their colours"
