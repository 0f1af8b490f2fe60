"""2D scenes for training and for the harder held-out list: everything that makes objects hard to follow.

Look-alikes that are other objects or none; textures that things and the ground share; things of half a
percent to sixty percent of the view, thin, bent, see-through, in parts; things that hide behind others or
leave, for a moment or for twenty frames and more; cameras that pan, shake, zoom and follow; motion blur;
light that changes; compressed recordings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from sam2_core.scenes import bodies
from sam2_core.scenes.arrays import Image, as_image
from sam2_core.scenes.bodies import Recipe
from sam2_core.scenes.courses import sample_course
from sam2_core.scenes.motion import Path, absence, wander
from sam2_core.scenes.sensor import Sensor
from sam2_core.scenes.sprites import draw
from sam2_core.scenes.stage import MARGIN, Motion, Stage, Thing
from sam2_core.scenes.textures import Texture, sample_texture

MOST_OBJECTS = 9
LONG = 20  # frames that a long absence lasts at least
SCALES = (0.005, 0.6)  # share of the view that an object covers before occlusion and zoom


@dataclass
class _Draw:
    """The state of one draw: where the numbers come from, and what the things of the scene have in common."""

    rng: np.random.Generator
    frames: int
    size: tuple[int, int]
    family: str  # of shapes.KINDS, textures.KINDS, courses.KINDS
    long_absence: bool  # whether some object must have one
    textures: list[Texture]
    pace: float
    shadow: Path | None
    things: list[Thing]  # from back to front
    recipes: dict[int, Recipe]  # of the labelled things
    courses: set[str]

    @property
    def unit(self) -> float:
        """Pixels: the root of the view's area."""
        return float(np.sqrt(self.size[0] * self.size[1]))


def direct(rng: np.random.Generator, frames: int, size: tuple[int, int], family: str) -> Stage:
    """Draw the stage of a scene, of family "train" or "held_out_hard".

    In the latter an object is away for LONG frames and more if the film has room for it.
    """
    kinds = "train" if family == "train" else "held_out"
    hard = kinds == "held_out"
    scene = _Draw(
        rng,
        frames,
        size,
        kinds,
        long_absence=hard or rng.random() < 0.25,
        textures=[sample_texture(rng, kinds) for _ in range(int(rng.integers(2, 6)))],
        pace=float(rng.choice([0.1, 0.3, 0.6, 1.0, 1.5, 2.5])),
        shadow=rng.normal(0, 0.02 * (size[0] * size[1]) ** 0.5, 2) if rng.random() < 0.4 else None,
        things=[],
        recipes={},
        courses=set(),
    )
    ground, ground_kinds = _paint_ground(scene)
    _add_objects(scene)
    _add_look_alikes(scene)
    _add_occluders(scene)
    camera = _sample_camera(scene)
    sensor = Sensor.sample(rng, frames, size).aged(rng)
    shutter = float(rng.choice([0.0, 0.5, 1.0], p=[0.5, 0.3, 0.2]))
    sprites = [part.sprite.kinds for thing in scene.things for part in thing.parts]
    ways = {f"course:{course}" for course in scene.courses}
    return Stage(
        ground, tuple(scene.things), camera, sensor, shutter, frozenset(ways | ground_kinds).union(*sprites)
    )


def _paint_ground(scene: _Draw) -> tuple[Image, set[str]]:
    """One texture or two with a horizon between them, often one that things wear too; clutter on it.

    Some are out of focus: such a ground is quiet, as most of what cameras see.
    """
    rng = scene.rng
    height, width = (round(side * (1 + 2 * MARGIN)) for side in scene.size)

    def texture() -> Texture:
        if rng.random() < 0.4:
            return scene.textures[rng.integers(len(scene.textures))]
        return sample_texture(rng, scene.family)

    base = texture()
    paints = [base, *scene.textures[:2]]
    ground = base.cut(rng, (height, width), zoom=(0.7, 2.0))
    if rng.random() < 0.35:
        paints.append(texture())
        horizon = int(height * rng.uniform(0.3, 0.7))
        ground[horizon:] = paints[-1].cut(rng, (height - horizon, width), zoom=(0.7, 2.0))
    kinds = set().union(*(paint.kinds for paint in paints))
    for _ in range(int(rng.choice([0, 2, 6, 12]))):
        area = np.exp(rng.uniform(np.log(0.002), np.log(0.15))) * scene.unit**2
        recipe = bodies.sample_recipe(rng, [paints[rng.integers(len(paints))]], area, scene.family)
        still = replace(recipe, kind=str(rng.choice(["simple", "composed"])))
        clutter = bodies.build(rng, still, frames=1)[0].sprite
        kinds |= clutter.kinds
        turn, place = rng.uniform(0, 360), rng.uniform(0, 1, 2) * (width, height)
        matrix = cv2.getRotationMatrix2D(clutter.centre, turn, 1.0)
        shift = np.pad((place - clutter.centre)[:, None], ((0, 0), (2, 0)))
        draw(clutter, matrix + shift, ground, ground[..., 0])
    if rng.random() < 0.3:
        ground = as_image(cv2.GaussianBlur(ground, (0, 0), rng.uniform(0.004, 0.02) * scene.unit))
    return ground, kinds


def _sample_motion(scene: _Draw, start: Path | None = None) -> Motion:
    """A course, begun at `start` [2] in pixels from the middle if given, with turns and changes of size."""
    rng, frames = scene.rng, scene.frames
    pace = scene.pace * float(rng.choice([0.3, 1.0, 1.0, 1.8]))
    course, path = sample_course(rng, frames, pace, scene.family)
    scene.courses.add(course)
    place = path * scene.size[::-1]
    if start is not None:
        place = place - place[0] + start
    turning = 0.08 if rng.random() < 0.5 else 0.015
    flip = rng.random() < 0.2  # some things turn away from the camera and become thin
    return Motion(
        place=place,
        angle=rng.uniform(0, 2 * np.pi) * (rng.random() < 0.6) + wander(rng, frames, turning * pace)[:, 0],
        scale=np.exp(wander(rng, frames, 0.03 * pace)[:, 0]).clip(0.4, 2.5),
        squeeze=np.exp(-np.abs(wander(rng, frames, (0.15 if flip else 0.02) * pace)[:, 0])).clip(0.25, 1),
    )


def _away(scene: _Draw, motion: Motion, share: Path) -> Motion:
    """The motion, out of the view where `share` [T] is 1."""
    heading = scene.rng.uniform(0, 2 * np.pi)
    far = np.array([np.cos(heading), np.sin(heading)]) * 1.7 * scene.unit
    return replace(motion, place=motion.place + share[:, None] * (far - motion.place))


def _shortest(scene: _Draw, long: bool) -> int:
    """How many frames an absence lasts at least, as far as the film has room for it."""
    return LONG if long and scene.frames >= 2 * LONG else min(4, scene.frames)


def _add_objects(scene: _Draw) -> None:
    """One to five labelled things."""
    rng = scene.rng
    count = int(rng.integers(1, 6))
    spread = np.log(SCALES[0]), np.log(SCALES[1] if count < 4 else 0.3)
    areas = np.exp(rng.uniform(*spread, count))
    order = np.argsort(-np.log(areas) + rng.normal(0, 0.7, count))  # small things are in front more often
    for label, index in enumerate(order, start=1):
        clothes = scene.textures if rng.random() < 0.7 else [sample_texture(rng, scene.family)]
        recipe = bodies.sample_recipe(rng, clothes, float(areas[index]) * scene.unit**2, scene.family)
        motion = _sample_motion(scene)
        if rng.random() < 0.15:
            motion = _away(scene, motion, absence(rng, scene.frames, _shortest(scene, rng.random() < 0.5)))
        _add(scene, len(scene.things), label, recipe, motion)


def _add(scene: _Draw, place: int, label: int, recipe: Recipe, motion: Motion) -> None:
    parts = bodies.build(scene.rng, recipe, scene.frames)
    shadow = scene.shadow if len(parts) < 5 else None  # each part would throw one of its own
    scene.things.insert(place, Thing(recipe.kind, label, parts, motion, shadow))
    if label:
        scene.recipes[label] = recipe


def _add_look_alikes(scene: _Draw) -> None:
    """Copies and siblings of some objects, and things in their clothes: objects too, or without a label.

    They begin near the original, so that they cross each other.
    """
    rng = scene.rng
    if rng.random() < 0.45:
        return
    models = [thing for thing in scene.things if thing.label]
    for _ in range(int(rng.integers(1, 4))):
        model = models[rng.integers(len(models))]
        recipe = scene.recipes[model.label]
        start = model.motion.place[0] + rng.normal(0, 0.2 * scene.unit, 2)
        motion = _sample_motion(scene, start)
        label = len(scene.recipes) + 1 if rng.random() < 0.7 and len(scene.recipes) < MOST_OBJECTS else 0
        place = int(rng.integers(len(scene.things) + 1))
        likeness = rng.choice(["copy", "sibling", "same clothes", "same shape"], p=[0.35, 0.3, 0.15, 0.2])
        if likeness == "copy":
            scene.things.insert(place, replace(model, label=label, motion=motion))
            if label:
                scene.recipes[label] = recipe
            continue
        if likeness == "same clothes":
            recipe = bodies.sample_recipe(rng, recipe.clothes, recipe.area, scene.family)
        elif likeness == "same shape":
            recipe = replace(recipe, clothes=[scene.textures[rng.integers(len(scene.textures))]])
        _add(scene, place, label, recipe, motion)


def _add_occluders(scene: _Draw) -> None:
    """Things without a label that pass, stand in the way, or lie on top of an object for a while."""
    rng = scene.rng
    for _ in range(int(rng.choice(3, p=[0.55, 0.3, 0.15]))):
        area = float(rng.uniform(0.02, 0.12)) * scene.unit**2
        recipe = bodies.sample_recipe(rng, scene.textures, area, scene.family)
        _add(scene, int(rng.integers(1, len(scene.things) + 1)), 0, recipe, _sample_motion(scene))
    if not scene.long_absence and rng.random() < 0.7:
        return
    index = int(rng.choice([index for index, thing in enumerate(scene.things) if thing.label]))
    target = scene.things[index]
    share = absence(rng, scene.frames, _shortest(scene, scene.long_absence))
    if rng.random() < 0.4:
        scene.things[index] = replace(target, motion=_away(scene, target.motion, share))
        return
    # A cover that follows what it hides; what is too large for one leaves instead.
    area = scene.recipes[target.label].area * float(target.motion.scale.max()) ** 2
    if area > 0.06 * scene.unit**2:
        scene.things[index] = replace(target, motion=_away(scene, target.motion, share))
        return
    recipe = bodies.sample_recipe(rng, scene.textures, 5 * area, scene.family)
    own = _sample_motion(scene)
    start = own.place + np.sign(own.place[:1] + 1e-9) * 0.3 * scene.unit
    follows = replace(
        Motion.still(scene.frames), place=start + share[:, None] * (target.motion.place - start)
    )
    _add(scene, len(scene.things), 0, replace(recipe, kind="cover"), follows)


def _sample_camera(scene: _Draw) -> Motion:
    """How the world moves in the view: not at all, gently, as in a shaking hand, or after an object."""
    rng, frames, unit = scene.rng, scene.frames, scene.unit
    pace = float(rng.choice([0.0, 0.5, 1.2, 2.5]))
    place = wander(rng, frames, 0.01 * pace * unit, 2).clip(-0.3 * unit, 0.3 * unit)
    if pace and rng.random() < 0.3:
        place = place + rng.normal(0, 0.006 * unit, (frames, 2))
    if rng.random() < 0.2:
        labelled = [thing.motion.place for thing in scene.things if thing.label]
        followed = labelled[rng.integers(len(labelled))]
        place = place - 0.8 * (followed - followed[0]).clip(-0.6 * unit, 0.6 * unit)
    zoom = np.exp(wander(rng, frames, 0.015 * pace)[:, 0])
    return Motion(
        place=place,
        angle=wander(rng, frames, 0.01 * pace)[:, 0].clip(-0.25, 0.25),
        scale=zoom.clip(0.8, 2.0),
        squeeze=np.ones(frames),
    )
