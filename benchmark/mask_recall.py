"""How exactly a given mask comes back from the memory: ``python benchmark/mask_recall.py --checkpoint FILE``.

Every object on the first frame of the held-out scenes gets its true mask as prompt. Then the tracker sees
that same frame again, a few times ("still"), or the frames that follow ("moving"). On the still scene nothing
moves, turns or hides: what is lost there is lost on the way into the memory and out of it.
"""

from __future__ import annotations

import argparse

import numpy as np
from tqdm import tqdm

from sam2_core.evaluation.held_out import FRAME_INTERVAL, MIN_SHARE
from sam2_core.evaluation.metrics import compare
from sam2_core.model import load_network
from sam2_core.scenes import held_out
from sam2_core.scenes.scene import Scene
from sam2_core.tracking import MaskPrompt, StreamingTracker

FRAMES = 10
SHARES = ((0.0, 0.01), (0.01, 0.03), (0.03, 0.1), (0.1, 1.0))


def recall(tracker: StreamingTracker, scene: Scene, frames: list[int]) -> dict[int, list[float]]:
    """IoU on these frames of the scene, of each object that its first frame shows, by label."""
    first = scene.labels[0]
    labels = [n for n in range(1, len(scene.names) + 1) if np.mean(first == n) >= MIN_SHARE]
    tracker.track(scene.frames[0], 0)
    ids = {tracker.add_prompt(MaskPrompt(first == label), label=str(label)).id: label for label in labels}
    found: dict[int, list[float]] = {label: [] for label in labels}
    for count, frame in enumerate(frames, start=1):
        for result in tracker.track(scene.frames[frame], count * FRAME_INTERVAL).objects:
            truth = scene.labels[frame] == ids[result.id]
            found[ids[result.id]].append(compare(result.mask, result.visible, truth).iou)
    return found


def main() -> None:
    """Measure how exactly a given mask comes back from the memory."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="", help="a bundled or released configuration (sam2_pico)")
    parser.add_argument("--checkpoint", default="", help="weights, .pt or .safetensors")
    options = parser.parse_args()
    network = load_network(options.model, options.checkpoint)
    shares: list[float] = []
    ious: dict[str, list[list[float]]] = {"still": [], "moving": []}
    for spec in tqdm(held_out.SCENES, unit="scene"):
        scene = held_out.load(spec)
        still = recall(StreamingTracker(network), scene, [0] * FRAMES)
        moving = recall(StreamingTracker(network), scene, list(range(1, FRAMES + 1)))
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
            figures = " | ".join(f"{mean[n]:.3f}" for n in (0, 2, FRAMES - 1))
            print(f"| {low:.0%} to {high:.0%} | {len(rows)} | {kind} | {figures} |")


if __name__ == "__main__":
    main()
