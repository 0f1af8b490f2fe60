"""How far our numbers are from the official video predictor's, beside what rounding alone amounts to.

    . scripts/environment.sh && python benchmark/fidelity.py --sizes 256 512

Both run the scenarios of the fidelity tests (three objects on twelve real frames) with the same random
weights. The noise floor compares our network with itself, its weights changed by a millionth.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")  # the official predictor's bars

import torch

from sam2_core.model import CONFIGS, Sam2Network

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "test" / "core"))

from official import track_official  # noqa: E402
from random_weights import Scores, tracking_network  # noqa: E402
from scenario import PROMPTS, REFINEMENTS, TOLERANCES, Errors, agree, clip, compare, track  # noqa: E402

SCENARIOS = {"three objects": (12, PROMPTS), "repeated prompts": (6, REFINEMENTS)}
WEIGHTS: tuple[Scores, Scores] = ("both signs", "visible")


@dataclass(frozen=True)
class Row:
    """One comparison."""

    model: str
    image_size: int
    weights: Scores
    scenario: str
    errors: Errors
    noise: Errors

    def text(self) -> str:
        """A row of the table."""
        figures = [
            f"{error:.1e} ({noise:.1e})"
            for error, noise in zip(asdict(self.errors).values(), asdict(self.noise).values(), strict=True)
        ]
        what = [self.model, str(self.image_size), self.weights, self.scenario]
        return " | ".join(["", *what, *figures, "yes" if agree(self.errors) else "NO", ""]).strip()


def perturb(network: Sam2Network, amount: float) -> None:
    """Changes every weight by a random part of itself."""
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.mul_(1 + amount * torch.randn(parameter.shape, generator=generator))


def measure(model: str, image_size: int, weights: Scores) -> list[Row]:
    """Compares on every scenario with one set of weights."""
    network = tracking_network(model, clip(), image_size, weights)
    found = {}
    for name, (length, prompts) in SCENARIOS.items():
        ours = track(network, clip(length), prompts)
        found[name] = ours, compare(ours, track_official(network, clip(length), prompts))
    perturb(network, 1e-6)
    rows = []
    for name, (length, prompts) in SCENARIOS.items():
        ours, errors = found[name]
        noise = compare(ours, track(network, clip(length), prompts))
        rows.append(Row(model, image_size, weights, name, errors, noise))
    return rows


def table(rows: list[Row]) -> str:
    """Markdown: each figure with its noise floor in brackets."""
    t = TOLERANCES
    lines = [
        "| model | px | object scores | scenario | mask logits | object score | pointer "
        "| memory [bfloat16 steps] | within tolerance |",
        "|---|---|---|---|---|---|---|---|---|",
        *(row.text() for row in rows),
        "",
        f"Largest differences; in brackets those of weights changed by 1e-6. Tolerances: {t.logits:g}, "
        f"{t.score:g}, {t.pointer:g}, {t.memory:g}. Mask logits deviate by 5, memories and pointers by 1.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="sam2.1_hiera_tiny", choices=list(CONFIGS))
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512], help="network inputs [px]")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmark" / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    cases = list(product(arguments.sizes, WEIGHTS))
    for done, (size, weights) in enumerate(cases):
        print(f"{done + 1} of {len(cases)}: {arguments.model}, {size} px, {weights}", flush=True)
        rows += measure(arguments.model, size, weights)
        # After each, since at full size one takes minutes.
        (arguments.out / "fidelity.md").write_text(table(rows))
        (arguments.out / "fidelity.json").write_text(
            json.dumps([asdict(row) for row in rows], indent=2) + "\n"
        )
    print(table(rows))


if __name__ == "__main__":
    main()
