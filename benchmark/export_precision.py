"""What half precision costs: each heavy stage of the exported form alone in half, then the three together.

    . scripts/environment.sh && python benchmark/export_precision.py

The fidelity tests' three objects are tracked through their clip (or through --frames of --video, clicked on
along a diagonal) in float32, and again with a stage in bfloat16 or float16; compared are the stage's own
outputs on the same inputs, and the masks that are found in the end. The stages run in torch with attention as
it is written into the graphs: a CPU has no executor for graphs in bfloat16. Rows that are not measured again
stay in the table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from sam2_core.backends.programs import Bucket, Signature, signature, stage_buckets
from sam2_core.backends.staged import StagedBackend
from sam2_core.backends.stages import stage_module
from sam2_core.model import Sam2Network, load_network

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "test" / "core"), str(ROOT / "benchmark")]

from random_weights import tracking_network  # noqa: E402
from scenario import PROMPTS, Given, Track, clip, track  # noqa: E402
from speed import prompts  # noqa: E402

BUNDLED = "sam2_pico"
MODELS = (BUNDLED, "sam2.1_hiera_tiny")
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
PARTS = {
    "encode_image": ("encode_image",),
    "attend_memory": ("attend_memory",),
    "encode_memory": ("encode_memory",),
    "the three together": ("encode_image", "attend_memory", "encode_memory"),
}


class Program:
    """A stage in torch, in float32 or half; in half it also notes how far its outputs are from float32."""

    def __init__(self, network: Sam2Network, bucket: Bucket, half: torch.dtype | None) -> None:
        self._exact = stage_module(network, bucket)
        self._half = stage_module(network, bucket, half) if half else None
        self._names: Signature = signature(bucket, network.config)
        self.errors: list[float] = []

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        given = [inputs[name] for name in self._names.inputs]
        found = self._exact(*given)
        if self._half:
            exact = found
            with _attention_as_exported():
                found = self._half(*given)
            self.errors += [
                float((a - b).square().mean().sqrt() / b.square().mean().sqrt())
                for a, b in zip(found, exact, strict=True)
            ]
        return dict(zip(self._names.outputs, found, strict=True))


@contextmanager
def _attention_as_exported() -> Iterator[None]:
    """Attention whose scores are rounded to half, as the graphs' products are."""

    def attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, **_: Any) -> Tensor:
        scores = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)).float()
        weights = (scores if attn_mask is None else scores + attn_mask.float()).softmax(dim=-1)
        return weights.to(v.dtype) @ v

    original = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = original


@dataclass(frozen=True)
class Row:
    """One stage, or all heavy ones, in one precision."""

    model: str
    precision: str
    part: str
    error: float
    """Of the stage's outputs: the largest root mean square of the difference, relative to the outputs'."""
    iou_min: float
    """Of the masks with those in float32; a frame on which both are empty counts as 1."""
    iou_mean: float
    flips: int
    """Objects and frames on which the score has another sign."""


def compare(track_: Track, exact: Track) -> tuple[float, float, int]:
    """Least and mean IoU, and changes of sign."""
    ious, flips = [], 0
    for key, step in exact.items():
        a, b = track_[key].logits > 0, step.logits > 0
        union = int((a | b).sum())
        ious.append(int((a & b).sum()) / union if union else 1.0)
        flips += (track_[key].score > 0) != (step.score > 0)
    return min(ious), sum(ious) / len(ious), flips


def measure(network: Sam2Network, name: str, frames: list[Any], given: tuple[Given, ...]) -> list[Row]:
    """All rows of a model."""
    exact = track(network, frames, given)
    rows = []
    cases = [(precision, part) for precision in HALVES for part in PARTS]
    for precision, part in tqdm(cases, desc=name, leave=False):
        programs = {
            bucket: Program(network, bucket, HALVES[precision])
            for bucket in stage_buckets(network.config, [4], "full")
            if bucket.stage in PARTS[part]
        }
        found = track(StagedBackend(network, programs, precision), frames, given)
        errors = [error for program in programs.values() for error in program.errors]
        rows.append(Row(name, precision, part, max(errors), *compare(found, exact)))
    return rows


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = [
        "| model | precision | in half | error of its outputs | mask IoU, least | mean | signs changed |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row.model, row.precision, row.part, f"{row.error:.1e}"]
        cells += [f"{row.iou_min:.3f}", f"{row.iou_mean:.3f}", str(row.flips)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--video", type=Path, help="a film or a folder of images instead of the tests' clip")
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--image-size", type=int, default=256, help="of sam2.1_hiera_tiny (256)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmark" / "results")
    options = parser.parse_args()
    frames, given = clip(options.frames), PROMPTS
    if options.video:
        from sam2_core.video_frames import open_frames

        video = open_frames(options.video, 30.0)
        frames, given = [video.image(index) for index in range(options.frames)], tuple(prompts(3))
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "export_precision.json"
    rows = [Row(**row) for row in json.loads(kept.read_text())] if kept.exists() else []
    for model in options.models:
        if model == BUNDLED:
            name, network = model, load_network()
        else:
            name = f"{model} at {options.image_size} px, random weights"
            network = tracking_network(model, clip(), options.image_size, "visible")
        with torch.inference_mode():
            measured = measure(network, name, frames, given)
        rows = [row for row in rows if row.model != name] + measured
        # After each, since float16 is slow on a CPU.
        kept.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
        (options.out / "export_precision.md").write_text(table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
