"""Scores a model on the held-out scenes: ``python -m sam2_core.evaluation.held_out --out DIR``.

Every object is prompted once, on the first frame that shows it: with one click in its middle, or with its
mask. From there the streaming tracker follows it to the end of the scene, all objects together.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from sam2_core.evaluation.metrics import Outcome, Summary, compare, summarise
from sam2_core.model import CheckpointError, Sam2Network, load_network
from sam2_core.scenes import held_out
from sam2_core.scenes.scene import Scene
from sam2_core.simulated_user import deepest_point
from sam2_core.tracking import MaskPrompt, PointPrompt, Prompt, StreamingTracker

PROMPTS = ("click", "mask")
MIN_SHARE = 1 / 1000  # of the image that an object must show before it is prompted
FRAME_INTERVAL = 33_333_333  # ns


def first_prompt(kind: str, mask: NDArray[np.bool_]) -> Prompt:
    """The prompt for a visible object with the mask [H, W]."""
    if kind == "mask":
        return MaskPrompt(mask)
    x, y, _ = deepest_point(mask)
    return PointPrompt([[x, y]], [1])


def track_scene(network: Sam2Network, scene: Scene, kind: str) -> Iterator[list[Outcome]]:
    """Track the objects of one scene; yields, frame by frame, the outcomes of those prompted so far."""
    tracker = StreamingTracker(network)
    ids: dict[int, int] = {}
    for index, (frame, labels) in enumerate(zip(scene.frames, scene.labels, strict=True)):
        results = {result.id: result for result in tracker.track(frame, index * FRAME_INTERVAL).objects}
        for label in range(1, len(scene.names) + 1):
            mask = labels == label
            if label not in ids and np.count_nonzero(mask) >= MIN_SHARE * mask.size:
                result = tracker.add_prompt(first_prompt(kind, mask), label=scene.names[label - 1])
                ids[label] = result.id
                results[result.id] = result
        yield [
            compare(results[ids[label]].mask, results[ids[label]].visible, labels == label) for label in ids
        ]


def evaluate(network: Sam2Network) -> dict[str, dict[str, Summary]]:
    """Summaries by prompt kind, then by group: each scene generator, and all scenes together."""
    outcomes: dict[tuple[str, str], list[Outcome]] = {}
    frames = sum(spec.frames for spec in held_out.SCENES) * len(PROMPTS)
    with tqdm(total=frames, unit="frame") as progress:
        for spec in held_out.SCENES:
            scene = held_out.load(spec)
            for kind in PROMPTS:
                progress.set_description(f"{spec.name}, {kind}")
                for on_frame in track_scene(network, scene, kind):
                    outcomes.setdefault((kind, spec.generator), []).extend(on_frame)
                    progress.update()
    generators = sorted({generator for _, generator in outcomes})
    return {
        kind: {
            **{generator: summarise(outcomes[kind, generator]) for generator in generators},
            "all": summarise([o for generator in generators for o in outcomes[kind, generator]]),
        }
        for kind in PROMPTS
    }


def to_markdown(summaries: dict[str, dict[str, Summary]]) -> str:
    """The summaries as a table."""
    lines = [
        "| prompt | scenes | object-frames | mean IoU | visibility right | precision | recall |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for kind, groups in summaries.items():
        for group, s in groups.items():
            lines.append(
                f"| {kind} | {group} | {s.object_frames} | {s.mean_iou:.3f} | {s.visibility_accuracy:.1%} "
                f"| {s.visibility_precision:.1%} | {s.visibility_recall:.1%} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Score a model on the held-out scenes; writes held_out.md and held_out.json."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="", help="a bundled or released configuration (sam2_pico)")
    parser.add_argument("--checkpoint", default="", help="weights, .pt or .safetensors")
    parser.add_argument("--out", type=Path, default=Path("held_out_output"), help="folder of the tables")
    options = parser.parse_args()
    try:
        network = load_network(options.model, options.checkpoint)
    except CheckpointError as error:
        parser.error(str(error))
    summaries = evaluate(network)
    options.out.mkdir(parents=True, exist_ok=True)
    as_json = {kind: {group: asdict(s) for group, s in groups.items()} for kind, groups in summaries.items()}
    (options.out / "held_out.json").write_text(json.dumps(as_json, indent=2) + "\n")
    table = to_markdown(summaries)
    (options.out / "held_out.md").write_text(table)
    print(table, end="")


if __name__ == "__main__":
    main()
