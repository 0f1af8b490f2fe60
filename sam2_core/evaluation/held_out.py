"""Scores a model on the held-out scenes: ``python -m sam2_core.evaluation.held_out --out DIR``.

Every object is prompted once, on the first frame that shows it: with one click in its middle, or with its
mask. From there the streaming tracker follows it to the end of the scene, all objects together.

The mean IoU is over all object-frames, those with the prompt included. J&F is DAVIS's: the mean over the
objects, each over its frames but the first and the last. An object that was hidden for at least `LONG` frames
is found again as `visibility` defines it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from sam2_core.backends import Backend
from sam2_core.evaluation.metrics import Outcome, Summary, compare, summarise
from sam2_core.evaluation.object_scores import ObjectFrames, mean_scores, summarise_object
from sam2_core.evaluation.visibility import returns
from sam2_core.model import CheckpointError, load_network
from sam2_core.scenes import held_out
from sam2_core.scenes.scene import Scene
from sam2_core.simulated_user import deepest_point
from sam2_core.tracking import MaskPrompt, PointPrompt, Prompt, StreamingTracker

PROMPTS = ("click", "mask")
MIN_SHARE = 1 / 1000  # of the image that an object must show before it is prompted
FRAME_INTERVAL = 33_333_333  # ns
LONG = 20  # frames: an object hidden for so many must be remembered, not merely followed


@dataclass(frozen=True)
class GroupSummary:
    """Scores over the objects of a group of scenes; None where there is no case."""

    frames: Summary
    jf: float | None
    """J&F, the mean over the objects with three or more frames."""
    long_returns: int
    """How often an object came back after it was hidden for `LONG` frames or more."""
    found_again: float | None
    """The share of them after which it was found."""


@dataclass
class FollowedObject:
    """One object of a scene, from the frame of its prompt on."""

    outcomes: list[Outcome]
    frames: ObjectFrames


def first_prompt(kind: str, mask: NDArray[np.bool_]) -> Prompt:
    """The prompt for a visible object with the mask [H, W]."""
    if kind == "mask":
        return MaskPrompt(mask)
    x, y, _ = deepest_point(mask)
    return PointPrompt([[x, y]], [1])


def track_scene(
    backend: Backend, scene: Scene, kind: str, followed: dict[int, FollowedObject]
) -> Iterator[int]:
    """Tracks the objects of one scene; yields the number of each frame that is done.

    Args:
        followed: gets the objects that were prompted so far, by their label in the scene.
    """
    tracker = StreamingTracker(backend)
    ids: dict[int, int] = {}
    for index, (frame, labels) in enumerate(zip(scene.frames, scene.labels, strict=True)):
        results = {result.id: result for result in tracker.track(frame, index * FRAME_INTERVAL).objects}
        for label in range(1, len(scene.names) + 1):
            mask = labels == label
            if label not in ids and np.count_nonzero(mask) >= MIN_SHARE * mask.size:
                result = tracker.add_prompt(first_prompt(kind, mask), label=scene.names[label - 1])
                ids[label] = result.id
                results[result.id] = result
                followed[label] = FollowedObject([], ObjectFrames())
        for label, one in followed.items():
            result, truth = results[ids[label]], labels == label
            one.outcomes.append(compare(result.mask, result.visible, truth))
            one.frames.add(str(index), index, result.mask & result.visible, truth, result.visible)
        yield index


def evaluate(backend: Backend, scenes: Sequence[held_out.SceneSpec]) -> dict[str, dict[str, GroupSummary]]:
    """Summaries by prompt kind, then by group: each scene generator, and all scenes together."""
    objects: dict[tuple[str, str], list[FollowedObject]] = {}
    frames = sum(spec.frames for spec in scenes) * len(PROMPTS)
    with tqdm(total=frames, unit="frame") as progress:
        for spec in scenes:
            scene = held_out.load(spec)
            for kind in PROMPTS:
                progress.set_description(f"{spec.name}, {kind}")
                followed: dict[int, FollowedObject] = {}
                for _ in track_scene(backend, scene, kind, followed):
                    progress.update()
                objects.setdefault((kind, spec.generator), []).extend(followed.values())
    generators = sorted({generator for _, generator in objects})
    return {
        kind: {
            **{generator: summarise_group(objects[kind, generator]) for generator in generators},
            "all": summarise_group([one for generator in generators for one in objects[kind, generator]]),
        }
        for kind in PROMPTS
    }


def summarise_group(objects: Sequence[FollowedObject]) -> GroupSummary:
    """The scores over at least one object."""
    scored = [one.frames.between() for one in objects if len(one.frames.j) > 2]
    long = [back for one in objects for back in returns(one.frames) if back.hidden >= LONG]
    found = sum(back.until_found is not None for back in long)
    return GroupSummary(
        summarise([outcome for one in objects for outcome in one.outcomes]),
        mean_scores([summarise_object(one) for one in scored]).jf if scored else None,
        len(long),
        found / len(long) if long else None,
    )


def to_markdown(summaries: dict[str, dict[str, GroupSummary]]) -> str:
    """The summaries as a table."""
    lines = [
        "| prompt | scenes | object-frames | mean IoU | J&F | visibility right | precision | recall "
        f"| returns after {LONG} hidden frames | found again |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for kind, groups in summaries.items():
        for group, one in groups.items():
            s = one.frames
            jf = "" if one.jf is None else f"{one.jf:.3f}"
            found = "" if one.found_again is None else f"{one.found_again:.1%}"
            lines.append(
                f"| {kind} | {group} | {s.object_frames} | {s.mean_iou:.3f} | {jf} "
                f"| {s.visibility_accuracy:.1%} | {s.visibility_precision:.1%} | {s.visibility_recall:.1%} "
                f"| {one.long_returns} | {found} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Score a model on the held-out scenes; writes held_out.md and held_out.json."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="", help="a bundled or released configuration (sam2_pico)")
    parser.add_argument("--checkpoint", default="", help="weights, .pt or .safetensors")
    parser.add_argument(
        "--scenes",
        choices=held_out.SETS,
        default="plain",
        help="plain: those of the published table; hard: with look-alikes, blur and long absences",
    )
    parser.add_argument("--out", type=Path, default=Path("held_out_output"), help="folder of the tables")
    options = parser.parse_args()
    try:
        network = load_network(options.model, options.checkpoint)
    except CheckpointError as error:
        parser.error(str(error))
    summaries = evaluate(network, held_out.SETS[options.scenes])
    options.out.mkdir(parents=True, exist_ok=True)
    as_json = {kind: {group: asdict(s) for group, s in groups.items()} for kind, groups in summaries.items()}
    (options.out / "held_out.json").write_text(json.dumps(as_json, indent=2) + "\n")
    table = to_markdown(summaries)
    (options.out / "held_out.md").write_text(table)
    print(table, end="")


if __name__ == "__main__":
    main()
