"""What the things of the varied scenes look like: composed shapes, assemblies with limbs, walking figures."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sam2_core.scenes import grammar
from sam2_core.scenes.arrays import Field, Image, as_field, as_image
from sam2_core.scenes.figures import chain, figure
from sam2_core.scenes.motion import wander
from sam2_core.scenes.sprites import Bend, Sprite, paint_sprite, shade
from sam2_core.scenes.stage import Motion, Part
from sam2_core.scenes.textures import Texture, octave_noise


@dataclass(frozen=True)
class Recipe:
    """A look that several things can share: things of one recipe are siblings, not copies.

    `kind` is "cover" (a plain opaque blob), or one of KINDS: "simple" (one primitive), "composed" (a family
    of the grammar), "assembly" (such a body with limbs), "figure" (it walks) or "chain" (it crawls).
    `clothes` are the textures it wears; `area` is in square pixels; `family` is one of `shapes.KINDS`.
    """

    kind: str
    seed: int
    clothes: list[Texture]
    area: float
    family: str


# Kinds of each family with how often each is drawn.
KINDS: dict[str, dict[str, float]] = {
    "train": {"simple": 0.25, "composed": 0.4, "assembly": 0.15, "figure": 0.2},
    "held_out": {"simple": 0.3, "composed": 0.4, "assembly": 0.15, "chain": 0.15},
}


def sample_recipe(rng: np.random.Generator, textures: list[Texture], area: float, family: str) -> Recipe:
    """Draw a look in some of the given textures."""
    weights = KINDS[family]
    kind = str(rng.choice(list(weights), p=list(weights.values())))
    seeds = grammar.FAMILIES[family]
    clothes = [textures[index] for index in rng.integers(len(textures), size=int(rng.integers(1, 4)))]
    return Recipe(kind, int(rng.integers(seeds.start, seeds.stop)), clothes, area, family)


def build(rng: np.random.Generator, recipe: Recipe, frames: int) -> tuple[Part, ...]:
    """The parts of a thing of this recipe, from back to front."""
    if recipe.kind == "figure":
        return figure(rng, recipe.seed, recipe.clothes, recipe.area, frames)
    if recipe.kind == "chain":
        return chain(rng, recipe.seed, recipe.clothes, recipe.area, frames)
    limbs = int(rng.integers(1, 4)) if recipe.kind == "assembly" else 0
    body_area = recipe.area / (1 + 0.3 * limbs)
    bending = recipe.kind == "composed" and rng.random() < 0.3
    body = _body(rng, recipe, body_area, 0.2 if bending else 0.0)
    parts = [Part(body, Motion.still(frames), 0, _sample_bend(rng, body_area) if bending else None)]
    for segment in range(1, limbs + 1):
        limb = _body(rng, recipe, body_area * rng.uniform(0.15, 0.6), 0.0)
        heading = rng.uniform(0, 2 * np.pi)
        joint = np.array([np.cos(heading), np.sin(heading)]) * body_area**0.5 * rng.uniform(0.2, 0.5)
        swing = wander(rng, frames, float(rng.choice([0.0, 0.1])))[:, 0]
        angle = rng.uniform(0, 2 * np.pi) + swing
        motion = Motion(np.tile(joint, (frames, 1)), angle, np.ones(frames), np.ones(frames))
        parts.insert(len(parts) if rng.random() < 0.5 else 0, Part(limb, motion, segment))
    return tuple(parts)


def _sample_bend(rng: np.random.Generator, area: float) -> Bend:
    """Ripples as long as the thing, a tenth of it high, that travel."""
    waves, length = int(rng.integers(1, 4)), area**0.5
    heading = rng.uniform(0, 2 * np.pi, waves)
    wave = np.stack([np.cos(heading), np.sin(heading)], -1) * rng.uniform(2.5, 5, (waves, 1)) / length
    push = rng.normal(0, 0.08 * length / waves**0.5, (waves, 2)).clip(-0.15 * length, 0.15 * length)
    return Bend(push, wave, rng.uniform(0, 2 * np.pi, waves), rng.normal(0, 0.25, waves))


def _body(rng: np.random.Generator, recipe: Recipe, area: float, margin: float) -> Sprite:
    texture = recipe.clothes[rng.integers(len(recipe.clothes))]
    if recipe.kind == "simple":
        return paint_sprite(rng, texture, area, recipe.family)
    if recipe.kind == "cover":
        alpha = _blob(rng, area)
    else:
        alpha = grammar.sample_shape(rng, recipe.seed, recipe.family, area, margin)
    image = _dress(rng, recipe.clothes, alpha.shape[0])
    shape = "cover" if recipe.kind == "cover" else str(recipe.seed)
    kinds = frozenset({f"shape:{shape}"}).union(*(texture.kinds for texture in recipe.clothes))
    veil = _veil(rng, alpha) if recipe.kind != "cover" and rng.random() < 0.12 else None
    return Sprite(shade(rng, image, alpha), alpha, recipe.kind, kinds, veil)


def _dress(rng: np.random.Generator, clothes: list[Texture], side: int) -> Image:
    """A cut of one texture, often with others in bands or patches on it: edges inside mean little."""
    zoom = (0.4, 2.0)
    image = clothes[0].cut(rng, (side, side), zoom)
    for other in clothes[1:]:
        where = octave_noise(rng, side, int(rng.integers(2, 4)), 1)
        if rng.random() < 0.5:
            heading = rng.uniform(0, 2 * np.pi)
            y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j].astype(np.float32)
            where = as_field(np.abs(x * np.float32(np.cos(heading)) + y * np.float32(np.sin(heading))))
            where = as_field(1 - where)
        share = np.clip((where - np.float32(rng.uniform(0.5, 0.8))) * np.float32(side / 4) + 0.5, 0, 1)
        image = as_image(cv2.blendLinear(other.cut(rng, (side, side), zoom), image, share, 1 - share))
    return image


def _blob(rng: np.random.Generator, area: float) -> Field:
    """A round box of `area` square pixels without holes."""
    power, ratio = rng.uniform(2, 6), float(np.exp(rng.normal(0, 0.15)))
    half = (area / 3.5) ** 0.5
    side = 2 * int(np.ceil(half * max(ratio, 1 / ratio))) + 4
    y, x = np.mgrid[0:side, 0:side] - (side - 1) / 2
    radius = ((np.abs(x) / (half * ratio)) ** power + (np.abs(y) * ratio / half) ** power) ** (1 / power)
    return as_field((half * (1 - radius) + 0.5).clip(0, 1))


def _veil(rng: np.random.Generator, alpha: Field) -> Field:
    """How opaque glass or gauze is: evenly, or more at its rim."""
    thickness = cv2.distanceTransform((alpha >= 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    rim = np.exp(-thickness / max(0.15 * float(thickness.max()), 1)) * rng.choice([0.0, 1.0])
    through = np.float32(rng.uniform(0.2, 0.65))
    return as_field(np.maximum(through, rim.astype(np.float32)))
