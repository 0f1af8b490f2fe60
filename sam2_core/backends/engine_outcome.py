"""How the self-check of engines ended: for people, for the log and for diagnostics."""

from __future__ import annotations

from dataclasses import dataclass

from .engines import PRECISIONS, EngineDevice
from .programs import Bucket


@dataclass(frozen=True)
class Verdict:
    """What runs one bucket."""

    bucket: Bucket
    precision: str
    """One of `PRECISIONS`; empty: no engine passed, torch runs it."""
    error: float | None
    """Its largest relative error against float32."""
    refused: tuple[tuple[str, str], ...]
    """Precisions that were refused, with the reasons, in the order in which they were tried."""

    def __str__(self) -> str:
        text = f"{self.bucket.name}: {self.precision or 'torch'}"
        if self.error is not None:
            text += f", off by {self.error:.2%}"
        return "; ".join([text, *(f"{precision} refused: {reason}" for precision, reason in self.refused)])


@dataclass(frozen=True)
class EngineOutcome:
    """How the self-check ended."""

    device: EngineDevice
    verdicts: tuple[Verdict, ...]
    tracking: str
    """What the tracker's check said."""

    @property
    def precisions(self) -> str:
        """How many engines run in which precision."""
        running = [verdict.precision for verdict in self.verdicts if verdict.precision]
        kinds = ", ".join(f"{running.count(kind)} in {kind}" for kind in PRECISIONS if kind in running)
        torch = len(self.verdicts) - len(running)
        return f"{kinds or 'no engine'}, {torch} in torch"

    def __str__(self) -> str:
        return f"{self.precisions}; {self.tracking}"

    def diagnostics(self) -> dict[str, str]:
        """For `/diagnostics`."""
        return {
            "TensorRT": str(self.device),
            "engines": str(self),
            **{f"engine {verdict.bucket.name}": str(verdict).partition(": ")[2] for verdict in self.verdicts},
        }
