"""The training loop: `sam2-train` (sam2_core.tools.train) is its command line.

A run writes into its folder: `checkpoint.pt`, from which it goes on when it is started again, with the same
weights in the end as a run that was not interrupted; `model.safetensors`, the averaged weights, which every
tool and the node load; `metrics.jsonl`, and the same for TensorBoard; `faults.txt`; `held_out.txt`, the names
of the videos that it validates on.

The batches of one step can be shared out among processes, which torchrun starts. On a CPU two processes of
one thread do nearly twice the work of one process with two threads.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from sam2_core.evaluation.dataset import DatasetError
from sam2_core.training.batches import ClipBatch, ClipBatches
from sam2_core.training.config import TrainingConfig
from sam2_core.training.datasets.opening import Datasets, open_datasets
from sam2_core.training.datasets.rendered import RenderedDataset
from sam2_core.training.errors import TrainingError
from sam2_core.training.initialisation import begin_with
from sam2_core.training.journal import Journal
from sam2_core.training.processes import ProcessGroup
from sam2_core.training.rehearsal import rehearse
from sam2_core.training.rollout import encode_frames
from sam2_core.training.run import Step, TrainingRun, at_size
from sam2_core.training.validation import validate, validation_batches

LOGGED_EVERY = 20  # steps, over which the logged losses are averaged
MOST_FAILED = 5  # steps in a row that could not update the weights, before a run stops


def train(
    config: TrainingConfig,
    out: Path,
    until: int | None = None,
    device: str = "auto",
    strict: bool = False,
) -> TrainingRun:
    """Train to the end of the configuration, or up to step ``until``, resuming what is in ``out``.

    Args:
        config: what to train, on what, and how.
        out: folder of the run.
        until: a step, no later than the configuration's last.
        device: "auto", "cpu" or "cuda".
        strict: whether files that cannot be used stop the run, at the start or when they are met.

    Raises:
        CheckpointError: the weights to begin with cannot be used.
        DatasetError: the data cannot be used, or `strict` and some of them cannot.
        TrainingError: the device or the checkpoint in ``out`` cannot be used, or the loss is not finite.
    """
    group = ProcessGroup(device)
    out.mkdir(parents=True, exist_ok=True)
    journal = Journal(out, group.leads)
    data = open_datasets(config, quiet=not group.leads)
    if data.problems and strict:
        raise DatasetError("--strict does not allow these faults:\n" + "\n".join(data.problems))
    if group.leads:
        journal.faults(data.problems)
    if any(len(stage.slots) < group.size for stage in config.stages):
        raise TrainingError(
            f"{group.size} processes have too little to do; allowed: as many as a step has batches, "
            "which accumulate in the stages raises"
        )
    loop = _Loop(config, group, journal, data, out, strict)
    try:
        loop.begin()
        loop.go(config.steps if until is None else until)
    finally:
        journal.close()
    group.close()
    return loop.run


class _Loop:
    """One call of `train`."""

    def __init__(
        self,
        config: TrainingConfig,
        group: ProcessGroup,
        journal: Journal,
        data: Datasets,
        out: Path,
        strict: bool,
    ) -> None:
        self.run = TrainingRun(config, group)
        self._config = config
        self._group = group
        self._journal = journal
        self._data = data
        self._out = out
        self._strict = strict
        self._batches = ClipBatches(config, data.training)
        self._held_out: dict[int, list[ClipBatch]] = {}
        self._failed = 0  # steps in a row

    def begin(self) -> None:
        """Take up the checkpoint, the weights to begin with, or new weights; the same in all processes."""
        run, config, leads = self.run, self._config, self._group.leads
        checkpoint = self._out / "checkpoint.pt"
        first = self._batches[0, 0]  # where data cannot be drawn, this tells without a worker's traceback
        resumed = checkpoint.exists()
        if resumed:
            run.load(checkpoint)
        elif config.weights:
            begin_with(run.network, Path(config.weights).expanduser(), config.memory_anew)
            run.average.module.load_state_dict(run.network.state_dict())
        elif leads:
            self._rehearse(first.to(self._group.device))
        run.copy_from_leader()
        self._journal.open(run.step)
        if leads:
            names = [source.name for _, sources in self._data.validation for source in sources]
            (self._out / "held_out.txt").write_text("".join(f"{name}\n" for name in names))
        if leads and config.weights and not resumed:
            self._journal.metrics(0, self._validate())

    def _rehearse(self, batch: ClipBatch) -> None:
        """Teach new weights what a click is, on a batch of the run."""
        network = at_size(self.run.network, batch.frames.shape[-1])
        with torch.no_grad():
            features = encode_frames(network, batch)
        rehearse(network, features, self._config.seed)

    def go(self, last: int) -> None:
        """Train up to step number ``last``."""
        config, group, run = self._config, self._group, self.run
        steps = range(run.step, last)
        loader = DataLoader(
            self._batches,
            batch_size=None,
            sampler=((step, slot) for step in steps for slot in self._share(step)),
            num_workers=config.workers,
            multiprocessing_context=self._start_method() if config.workers else None,
        )
        batches = iter(loader)
        recent: list[dict[str, float]] = []
        frames, since = 0, time.monotonic()
        progress = tqdm(steps, initial=run.step, total=steps.stop, unit="step", disable=not group.leads)
        for step in progress:
            drawn = {slot: next(batches) for slot in self._share(step)}
            self._name_faults(batch.faults for batch in drawn.values())
            result = run.advance(drawn)
            self._note_left_out(step, drawn, result)
            self._check_progress()
            if not group.leads:
                continue
            ended = run.step == steps.stop
            frames += sum(s.frames * s.clips for s in config.stage(step).slots)
            line: dict[str, float] = {}
            if result.values:
                recent.append(result.values)
            if recent and (run.step % LOGGED_EVERY == 0 or ended):
                line = {name: float(np.mean([entry[name] for entry in recent])) for name in recent[0]}
                line["frames_per_second"] = frames / (time.monotonic() - since)
                recent.clear()
                progress.set_postfix(loss=f"{line['loss']:.3f}")
            if run.step % config.validate_every == 0 or ended:
                line |= self._validate()
            if line:
                self._journal.metrics(run.step, line)
                frames, since = (0, time.monotonic()) if "loss" in line else (frames, since)
            if ended or (run.step % config.checkpoint_every == 0 and not self._failed):
                run.save(self._out)

    def _start_method(self) -> str:
        """How processes that read clips begin: with a copy of what this one has, unless they render.

        A forked process would wait for ever for the threads of OpenGL, which has rendered in this one.
        """
        render = any(isinstance(dataset, RenderedDataset) for _, dataset in self._data.training)
        return "spawn" if render else "fork"

    def _validate(self) -> dict[str, float]:
        """Scores of the averaged weights, where there is something to score them on."""
        stage = self._config.stage(max(self.run.step - 1, 0))
        size = max(shape.image_size for shape in stage.batches)
        if size not in self._held_out:
            faults: list[str] = []
            self._held_out[size] = validation_batches(self._config, self._data.validation, size, faults)
            self._name_faults([faults])
        if not self._held_out[size]:
            return {}
        found = validate(at_size(self.run.average.module, size), self._held_out[size])
        self._journal.picture(self.run.step, found.picture)
        return found.scores

    def _share(self, step: int) -> Sequence[int]:
        """The slots of a step whose batches are this process's."""
        return self._group.share(range(len(self._config.stage(step).slots)))

    def _name_faults(self, faults: Iterable[Iterable[str]]) -> None:
        named = [fault for some in faults for fault in some]
        self._journal.faults(named)
        if named and self._strict:
            raise DatasetError(f"--strict does not allow faults: {named[0]}")

    def _note_left_out(self, step: int, drawn: dict[int, ClipBatch], result: Step) -> None:
        for slot, reason in result.left_out.items():
            interaction = self.run.interaction(step, slot, drawn[slot])
            self._journal.left_out(step, slot, drawn[slot], interaction, reason)
        self._failed = 0 if result.updated else self._failed + 1

    def _check_progress(self) -> None:
        """Stop a run that no longer learns."""
        if self._failed == MOST_FAILED:
            checkpoint = self._out / "checkpoint.pt"
            kept = f"{checkpoint} is from before that" if checkpoint.exists() else "nothing is saved yet"
            raise TrainingError(
                f"the loss or gradient of the last {self._failed} of {self.run.step} steps is not finite; "
                f"{kept}. Try a lower learning_rate"
            )
