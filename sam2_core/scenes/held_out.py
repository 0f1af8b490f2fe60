"""The held-out scenes: what a model is scored on and never trained on.

They are fixed. Their shapes, objects, textures, photographs and ways of moving are those called "held_out",
which training never draws from (`shapes.KINDS`, `grammar.FAMILIES`, `bodies.KINDS`, `courses.KINDS`,
`household.KINDS`, `textures.KINDS`, `textures.PHOTOGRAPHS`); the seeds are the first ones, not chosen by how
any model does on them.

SCENES is the list that the first published scores rest on. HARD_SCENES asks for more: look-alikes, thin,
tiny and see-through objects, blur, poor recordings, and in nearly every scene an object that stays away for
`varied_scenes.LONG` frames or more and comes back.
"""

from __future__ import annotations

from dataclasses import dataclass

from sam2_core.scenes import cache, procedural, tabletop
from sam2_core.scenes.scene import Scene

SIZE = (240, 320)  # height, width


@dataclass(frozen=True)
class SceneSpec:
    """One held-out scene: `generator` is "procedural" or "tabletop", the rest are its arguments."""

    generator: str
    seed: int
    frames: int
    family: str = "held_out"

    @property
    def name(self) -> str:
        """A short unique name, such as "tabletop_03" or "hard_tabletop_03"."""
        return f"{'hard_' * (self.family == 'held_out_hard')}{self.generator}_{self.seed:02d}"


SCENES: tuple[SceneSpec, ...] = (
    *(SceneSpec("procedural", seed, frames=40) for seed in range(12)),
    *(SceneSpec("tabletop", seed, frames=60) for seed in range(8)),
)

HARD_SCENES: tuple[SceneSpec, ...] = (
    *(SceneSpec("procedural", seed, frames=60, family="held_out_hard") for seed in range(24)),
    *(SceneSpec("tabletop", seed, frames=60, family="held_out_hard") for seed in range(8)),
)

SETS: dict[str, tuple[SceneSpec, ...]] = {"plain": SCENES, "hard": HARD_SCENES}
"""The lists by name."""


def load(spec: SceneSpec) -> Scene:
    """A held-out scene, rendered once and then read from the disk (see `cache.load_or_render`).

    Raises:
        RenderingUnavailableError: a tabletop scene has to be rendered and this machine cannot.
    """
    if spec.generator == "tabletop":
        return tabletop.load_scene(spec.seed, spec.frames, SIZE, spec.family, fps=15)
    key = {"procedural": spec.family, "seed": spec.seed, "frames": spec.frames, "size": SIZE}
    return cache.load_or_render(
        Scene, key, lambda: procedural.sample_scene(spec.seed, spec.frames, SIZE, spec.family)
    )
