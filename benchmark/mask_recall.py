"""How exactly a given mask comes back from the memory: ``python benchmark/mask_recall.py --checkpoint FILE``.

Every object on the first frame of the held-out scenes gets its true mask as prompt. Then the tracker sees
that same frame again, a few times ("still"), or the frames that follow ("moving"). On the still scene nothing
moves, turns or hides: what is lost there is lost on the way into the memory and out of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from sam2_core.backends import Backend
from sam2_core.evaluation.held_out import FollowedObject, track_scene
from sam2_core.model import CheckpointError, load_network
from sam2_core.scenes import held_out
from sam2_core.scenes.scene import Scene

FRAMES = 10
SHARES = ((0.0, 0.01), (0.01, 0.03), (0.03, 0.1), (0.1, 1.0))


def recall(backend: Backend, scene: Scene, frames: Sequence[int]) -> dict[int, list[float]]:
    """IoU on the first frame and then on these, of each object that the first one shows, by label."""
    seen = [0, *frames]
    shown = replace(scene, frames=scene.frames[seen], labels=scene.labels[seen])
    followed: dict[int, FollowedObject] = {}
    for _ in track_scene(backend, shown, "mask", followed):
        pass
    ious = {label: [outcome.iou for outcome in one.outcomes] for label, one in followed.items()}
    return {label: values for label, values in ious.items() if len(values) == len(seen)}


def main() -> None:
    """Measure how exactly a given mask comes back from the memory."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="", help="a bundled or released configuration (sam2_pico)")
    parser.add_argument("--checkpoint", default="", help="weights, .pt or .safetensors")
    options = parser.parse_args()
    try:
        network = load_network(options.model, options.checkpoint)
    except CheckpointError as error:
        parser.error(str(error))
    shares: list[float] = []
    ious: dict[str, list[list[float]]] = {"still": [], "moving": []}
    for spec in tqdm(held_out.SCENES, unit="scene"):
        scene = held_out.load(spec)
        still = recall(network, scene, [0] * FRAMES)
        moving = recall(network, scene, range(1, FRAMES + 1))
        shares += [float(np.mean(scene.labels[0] == label)) for label in still]
        ious["still"] += still.values()
        ious["moving"] += moving.values()
    print(
        "| objects that fill | objects | scene | next frame | third | tenth |\n|---|---:|---|---:|---:|---:|"
    )
    for low, high in ((0.0, 1.0), *SHARES):
        rows = [n for n, share in enumerate(shares) if low <= share < high]
        for kind, values in ious.items():
            mean = np.mean([values[n] for n in rows], axis=0)
            figures = " | ".join(f"{mean[n]:.3f}" for n in (1, 3, FRAMES))
            print(f"| {low:.0%} to {high:.0%} | {len(rows)} | {kind} | {figures} |")


if __name__ == "__main__":
    main()
