"""The surfaces of the demo scene: wood, glaze, printed labels. All uint8 [h, w, 3] RGB."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from sam2_core.scenes.arrays import Image, as_field, as_image
from sam2_core.scenes.textures import colour, octave_noise, photograph

Colour = tuple[int, int, int]


def _palette(*colours: Colour) -> npt.NDArray[np.float32]:
    return np.array(colours, np.float32)


def wood(side: int = 1024) -> Image:
    """Planks of oak: noise drawn out along the grain, one offset per plank, dark joints between them."""
    rng = np.random.default_rng(1)
    fine = octave_noise(rng, side, 12, 7)[:, : side // 12]
    grain = as_field(cv2.resize(fine, (side, side), interpolation=cv2.INTER_CUBIC))
    rings = 0.5 + 0.5 * np.sin(18 * octave_noise(rng, side, 2, 3)[:, : side // 4].repeat(4, 1) + 3 * grain)
    planks = 6
    rows = np.arange(side) * planks // side
    tone = rng.uniform(-0.12, 0.12, planks)[rows][:, None]
    shift = rng.integers(0, side, planks)[rows]
    field = 0.65 * grain + 0.25 * rings + 0.05 + tone
    field = field[np.arange(side)[:, None], (np.arange(side) + shift[:, None]) % side]
    joint = np.abs((np.arange(side) * planks / side + 0.5) % 1 - 0.5)[:, None] * side / planks < 2
    field = np.where(joint, 0.0, field).clip(0, 1)
    return colour(as_field(field), _palette((88, 56, 32), (168, 116, 70), (206, 160, 108), (226, 188, 140)))


def plaster(shade: Colour, side: int = 512) -> Image:
    """A painted wall: nearly even, a little blotchy."""
    field = octave_noise(np.random.default_rng(2), side, 3, 6)
    dark = tuple(int(0.86 * channel) for channel in shade)
    image = colour(field, _palette((dark[0], dark[1], dark[2]), shade))
    return np.concatenate([image, image[:, ::-1]], axis=1)  # mirrored, so that it tiles without a seam


def bands(base: Colour, *stripes: tuple[float, float, Colour], side: int = 256) -> Image:
    """A glaze of one colour with stripes, each (from, to, colour), in fractions of the way up the profile."""
    image = np.full((side, side, 3), base, np.uint8)
    for start, end, paint in stripes:
        image[round((1 - end) * side) : round((1 - start) * side)] = paint
    speckle = octave_noise(np.random.default_rng(3), side, 100, 2)[..., None]
    return (image * (0.88 + 0.12 * speckle)).astype(np.uint8)


def coffee_pack(side: int = 512) -> Image:
    """The front of a pack of coffee: a photograph in a frame with a title."""
    image = np.full((side, side, 3), (36, 66, 84), np.uint8)
    picture = cv2.resize(photograph("coffee.png"), (side - 96, side // 2), interpolation=cv2.INTER_AREA)
    top = side // 2 - 40
    image[top : top + side // 2, 48 : side - 48] = picture
    cv2.rectangle(image, (16, 16), (side - 17, side - 17), (222, 190, 110), 6)
    cv2.putText(image, "COFFEE", (48, 150), cv2.FONT_HERSHEY_DUPLEX, 3.4, (240, 222, 176), 10, cv2.LINE_AA)
    return image


def can_label(side: int = 512) -> Image:
    """A label all around a can: bands of colour, a medallion and a title on either side."""
    image = bands((226, 220, 204), (0.5, 0.75, (178, 34, 30)), (0.48, 0.5, (214, 170, 60)), side=side)
    font = cv2.FONT_HERSHEY_DUPLEX
    for x in (side // 4, 3 * side // 4):
        cv2.circle(image, (x, side // 2), side // 11, (214, 170, 60), -1, cv2.LINE_AA)
        cv2.putText(
            image,
            "SOUP",
            (x - 84, side * 2 // 5),
            font,
            2,
            (255, 246, 224),
            6,
            cv2.LINE_AA,
        )
    return image


def banana_skin(side: int = 256) -> Image:
    """Yellow, brown at both ends and in small spots."""
    spots = octave_noise(np.random.default_rng(4), side, 24, 3)
    ends = np.abs(np.linspace(-1, 1, side))[:, None] ** 12
    field = np.maximum(np.clip((spots - 0.68) * 4, 0, 0.7), ends).astype(np.float32)
    return colour(field, _palette((238, 206, 62), (222, 176, 48), (96, 66, 30)))


def ball(side: int = 256) -> Image:
    """A toy ball in four colours."""
    colours = _palette((232, 92, 44), (246, 240, 226), (36, 104, 168), (246, 240, 226))
    sectors = np.arange(side) * 8 // side % 4
    image = np.broadcast_to(colours[sectors], (side, side, 3)).astype(np.uint8)
    return as_image(cv2.GaussianBlur(image, (0, 0), 0.8))
