"""How far our numbers are from the official video predictor's, beside what rounding alone amounts to.

    . scripts/environment.sh && python benchmark/fidelity.py

Both run the scenarios of the fidelity tests on the same real frames with the same random weights. The noise
floor compares our network with itself, its weights changed by a millionth. The whole table takes an hour of
CPU; each row is kept as soon as it is there, and the next run goes on with those that are missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import torch

from sam2_core.files import replacing
from sam2_core.model import CONFIGS, Sam2Network

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "test" / "core"))

from official import track_official  # noqa: E402
from random_weights import Scores, scaled_network, tracking_network  # noqa: E402
from scenario import (  # noqa: E402
    PROMPTS,
    REFINEMENTS,
    TOLERANCES,
    Errors,
    Given,
    agree,
    clip,
    compare,
    track,
)

FIRST_FRAMES, THREE_OBJECTS, REPEATED = "first frames", "three objects", "repeated prompts"
SCENARIOS = {
    FIRST_FRAMES: (2, [Given(0, given.object_id, given.prompt) for given in PROMPTS[:3]]),
    THREE_OBJECTS: (12, PROMPTS),
    REPEATED: (6, REFINEMENTS),
}
_VISIBLE = 5.0
"""Added to the object scores of random weights, which deviate by less than 1."""


@dataclass(frozen=True)
class Case:
    """One comparison to be made."""

    model: str
    image_size: int
    weights: Scores
    scenario: str

    def network(self) -> Sam2Network:
        """The random weights."""
        if self.scenario != FIRST_FRAMES:
            return tracking_network(self.model, clip(6), self.image_size, self.weights)
        network = scaled_network(self.model, clip(1)[0], self.image_size)
        network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.add_(_VISIBLE)
        return network


def plan() -> list[Case]:
    """The whole table, the most telling rows first."""
    tiny, base_plus = "sam2.1_hiera_tiny", "sam2.1_hiera_base_plus"
    weights: tuple[Scores, Scores] = ("both signs", "visible")
    newer = [name for name in CONFIGS if name.startswith("sam2.1")]
    older = [name for name in CONFIGS if name.startswith("sam2_hiera")]
    return [
        *(Case(tiny, 256, *rest) for rest in product(weights, (THREE_OBJECTS, REPEATED))),
        *(Case(name, 1024, "visible", FIRST_FRAMES) for name in newer),
        *(Case(tiny, 512, one, THREE_OBJECTS) for one in weights),
        Case(tiny, 1024, "both signs", THREE_OBJECTS),
        # Its random weights of the other kind see no object on any frame, and so compare no mask.
        Case(base_plus, 1024, "visible", THREE_OBJECTS),
        *(Case(tiny, 512, one, REPEATED) for one in weights),
        *(Case(name, 1024, "visible", FIRST_FRAMES) for name in older),
    ]


@dataclass(frozen=True)
class Row:
    """One comparison."""

    case: Case
    errors: Errors
    noise: Errors

    def text(self) -> str:
        """A row of the table."""
        figures = [
            f"{error:.1e} ({noise:.1e})"
            for error, noise in zip(asdict(self.errors).values(), asdict(self.noise).values(), strict=True)
        ]
        what = map(str, asdict(self.case).values())
        return " | ".join(["", *what, *figures, self.verdict(), ""]).strip()

    def verdict(self) -> str:
        """Whether the differences are within the tolerances, or the memory's are what noise makes of it."""
        if agree(self.errors):
            return "yes"
        noisy = agree(replace(self.errors, memory=0)) and self.errors.memory <= self.noise.memory
        return "yes; memory within its noise" if noisy else "NO"


def perturb(network: Sam2Network, amount: float) -> None:
    """Changes every weight by a random part of itself."""
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.mul_(1 + amount * torch.randn(parameter.shape, generator=generator))


def measure(case: Case) -> Row:
    """Runs both programs, and ours once more for the noise."""
    network = case.network()
    length, prompts = SCENARIOS[case.scenario]
    ours = track(network, clip(length), prompts)
    errors = compare(ours, track_official(network, clip(length), prompts))
    perturb(network, 1e-6)
    return Row(case, errors, compare(ours, track(network, clip(length), prompts)))


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
        f"{t.score:g}, {t.pointer:g}, {t.memory:g}. Mask logits deviate by 5, memories and pointers by 1. "
        "A prompted frame's mask enters its memory as 0 and 1: where a logit is within rounding of 0, one "
        "pixel changes, and the noise shows it too.",
        "",
    ]
    return "\n".join(lines)


def read(path: Path) -> list[Row]:
    """The rows that an earlier run kept."""
    kept = json.loads(path.read_text()) if path.exists() else []
    return [Row(Case(**row["case"]), Errors(**row["errors"]), Errors(**row["noise"])) for row in kept]


def write(folder: Path, rows: list[Row]) -> None:
    """Keeps the rows."""
    with replacing(folder / "fidelity.json") as temporary:
        temporary.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    (folder / "fidelity.md").write_text(table(rows))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--most", type=int, metavar="N", help="measure so many rows at most (all)")
    parser.add_argument("--again", action="store_true", help="measure every row anew")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmark" / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    cases = plan()
    done = {} if arguments.again else {row.case: row for row in read(arguments.out / "fidelity.json")}
    for case in [case for case in cases if case not in done][: arguments.most]:
        print(
            f"{', '.join(map(str, asdict(case).values()))}; {len(done)} of {len(cases)} are done", flush=True
        )
        done[case] = measure(case)
        write(arguments.out, [done[case] for case in cases if case in done])
    print(table([done[case] for case in cases if case in done]))


if __name__ == "__main__":
    main()
