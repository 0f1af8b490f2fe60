"""What a run tells while it goes on: metrics.jsonl, TensorBoard, and what could not be used."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from sam2_core.training.batches import ClipBatch
from sam2_core.training.rollout import Interaction

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Journal:
    """Writes to the folder of a run. Only the process that leads writes metrics; each tells its faults.

    Args:
        out: the folder.
        leads: whether this process leads.
    """

    def __init__(self, out: Path, leads: bool) -> None:
        self._out = out
        self._leads = leads
        self._named: set[str] = set()
        self._started = time.monotonic()
        self._board: SummaryWriter | None = None

    def open(self, step: int) -> None:
        """Begin, or go on after an interruption, with step number ``step``."""
        if self._leads:
            from torch.utils.tensorboard import SummaryWriter  # takes a second, which not every process needs

            self._board = SummaryWriter(str(self._out / "tensorboard"), purge_step=step + 1)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Numbers after so many steps."""
        entry = {"step": step, "seconds": time.monotonic() - self._started, **values}
        with (self._out / "metrics.jsonl").open("a") as log:
            log.write(json.dumps(entry) + "\n")
        assert self._board is not None
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def picture(self, step: int, picture: NDArray[np.uint8]) -> None:
        """A picture [H, W, 3] after so many steps."""
        assert self._board is not None
        self._board.add_image("validation", picture, step, dataformats="HWC")

    def faults(self, faults: Iterable[str]) -> None:
        """Name files that cannot be used, each of them once; in `faults.txt` also if the run is resumed."""
        new = [fault for fault in dict.fromkeys(faults) if fault not in self._named]
        if not new:
            return
        self._named.update(new)
        path = self._out / "faults.txt"
        written = set(path.read_text().splitlines()) if path.exists() else set()
        with path.open("a") as log:
            for fault in new:
                tqdm.write(f"sam2-train: {fault}", file=sys.stderr)
                if fault not in written:
                    log.write(fault + "\n")

    def left_out(self, step: int, slot: int, batch: ClipBatch, interaction: Interaction, reason: str) -> None:
        """Save a batch that was left out of a step, and name it."""
        path = self._out / "left_out" / f"step{step}_batch{slot}.pt"
        path.parent.mkdir(exist_ok=True)
        prompts = {
            "first": interaction.first,
            "prompted": list(interaction.prompted),
            "corrected": sorted(interaction.corrected),
            "corrections": interaction.corrections,
            "lasting": interaction.lasting,
        }
        tensors = {"frames": batch.frames, "masks": batch.masks, "known": batch.known}
        torch.save({"step": step, "batch": slot, **tensors, "owners": batch.clip_of_object, **prompts}, path)
        self.faults([f"step {step}, batch {slot}: {reason}; it is left out and saved as {path}"])

    def close(self) -> None:
        """Finish what is being written."""
        if self._board is not None:
            self._board.close()
