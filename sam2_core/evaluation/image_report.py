"""What `sam2-eval` tells of a dataset of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from .images import PROMPTS
from .report import describe, escape, faults_and_pictures


@dataclass(frozen=True)
class SegmentedObject:
    """One object of an image."""

    source: str
    """The video or file that the image is of."""
    image: str
    name: str
    iou: Mapping[str, float]
    """By what was told of it (`images.PROMPTS`)."""

    @property
    def title(self) -> str:
        return title(self.image, self.name)

    @property
    def mean(self) -> float:
        """Over the prompts: the objects are ordered by it."""
        return fmean(self.iou.values())


def title(image: str, name: str) -> str:
    """How an object is named in the report."""
    return f"{image}, object {name}"


def mean_iou(objects: Sequence[SegmentedObject]) -> dict[str, float]:
    """By prompt, each object of the same weight."""
    return {prompt: fmean(one.iou[prompt] for one in objects) for prompt in PROMPTS}


def to_json(
    about: Mapping[str, Any], objects: Sequence[SegmentedObject], problems: Sequence[str]
) -> dict[str, Any]:
    """All figures of a dataset with at least one object."""
    images: dict[str, dict[str, Mapping[str, float]]] = {}
    for one in objects:
        images.setdefault(one.image, {})[one.name] = one.iou
    return {
        **about,
        "mean_iou": mean_iou(objects),
        "objects": len(objects),
        "images": images,
        "problems": list(problems),
    }


def to_markdown(
    about: Mapping[str, Any],
    objects: Sequence[SegmentedObject],
    problems: Sequence[str],
    pictures: Mapping[str, str],
) -> str:
    """The same for people: the means over all objects and over those of each source of several images."""
    images = {one.image for one in objects}
    lines = ["# Segmentation of images", "", *describe(about)]
    lines += [f"- scored: {len(objects)} objects on {len(images)} images", ""]
    lines += ["| mean IoU | objects | " + " | ".join(PROMPTS) + " |", "|---|" + "---:|" * (1 + len(PROMPTS))]
    lines += [_row("**all objects**", objects)]
    sources: dict[str, list[SegmentedObject]] = {}
    for one in objects:
        sources.setdefault(one.source, []).append(one)
    lines += [
        _row(escape(source), ones) for source, ones in sources.items() if len({one.image for one in ones}) > 1
    ]
    return "\n".join([*lines, *faults_and_pictures(problems, pictures, "The worst objects")]) + "\n"


def _row(name: str, objects: Sequence[SegmentedObject]) -> str:
    values = " | ".join(f"{value:.3f}" for value in mean_iou(objects).values())
    return f"| {name} | {len(objects)} | {values} |"
