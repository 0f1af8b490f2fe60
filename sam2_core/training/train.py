"""Trains a SAM 2 network: ``python -m sam2_core.training.train --config FILE --pool DIR --out DIR``.

The run writes ``checkpoint.pt`` and ``metrics.jsonl`` into its folder. Started again on the same folder it
goes on where the checkpoint was written and ends with the same weights as a run that was not interrupted.

The batches of one step can be shared out among processes:
``torchrun --nproc-per-node 2 -m sam2_core.training.train ...``. On a CPU two processes of one thread do
nearly twice the work of one process with two threads.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from sam2_core.files import replacing
from sam2_core.heap import keep_freed_memory
from sam2_core.model import CONFIGS, ImageFeatures, Sam2Network
from sam2_core.training.affinity import AffinityHead
from sam2_core.training.batches import ClipBatch, ClipBatches
from sam2_core.training.config import BatchShape, TrainingConfig, load_config
from sam2_core.training.initialisation import begin_with, initialise
from sam2_core.training.losses import Losses, prediction_losses
from sam2_core.training.processes import ProcessGroup
from sam2_core.training.rehearsal import rehearse
from sam2_core.training.rollout import Interaction, Rollout, encode_frames
from sam2_core.training.validation import validate, validation_batches

LOGGED_EVERY = 20  # steps, over which the logged losses are averaged
LOGGED = ("loss", "focal", "dice", "iou", "occlusion", "affinity")


def draw_interaction(shape: BatchShape, rng: np.random.Generator) -> Interaction:
    """The simulated user of one batch."""
    kinds = list(shape.prompts)
    first = kinds[rng.choice(len(kinds), p=list(shape.prompts.values()))]
    count = rng.integers(0, shape.corrected_frames, endpoint=True)
    corrected = rng.choice(shape.frames, size=count, replace=False)
    return Interaction(first, frozenset(corrected.tolist()), rng)


def batch_losses(
    network: Sam2Network, batch: ClipBatch, features: ImageFeatures, interaction: Interaction
) -> Losses:
    """Mean losses over all decoder outputs of one batch.

    Masks are compared at twice the decoder's resolution: finer costs time and teaches nothing, because
    the logits are enlarged bilinearly from there.
    """
    truths = halved(batch.masks).float()
    terms = [
        prediction_losses(p.logits, p.iou, p.score, truths[p.frame])
        for p in Rollout(network, batch, features, interaction).run()
    ]
    names = ("focal", "dice", "iou", "occlusion")
    return Losses(**{name: torch.stack([getattr(t, name) for t in terms]).mean() for name in names})


def halved(masks: Tensor) -> Tensor:
    """Masks [..., S, S] at half the side: a pixel is in where at least two of its four were."""
    quarters = [masks[..., i::2, j::2].byte() for i in (0, 1) for j in (0, 1)]
    return sum(quarters[1:], start=quarters[0]) >= 2


@lru_cache(maxsize=4)
def at_size(network: Sam2Network, size: int) -> Sam2Network:
    """The same network for inputs of ``size`` pixels: no weight depends on it, and all are shared."""
    if size == network.config.image_size:
        return network
    resized = Sam2Network(replace(network.config, image_size=size))
    for name, module in resized.named_modules():
        module._parameters = network.get_submodule(name)._parameters
    resized.sam_prompt_encoder.pe_layer = network.sam_prompt_encoder.pe_layer
    return resized


class TrainingRun:
    """The state of a run: weights, their moving average, optimiser, number of the next step."""

    def __init__(self, config: TrainingConfig, group: ProcessGroup) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self._group = group
        self.step = 0
        self.network = Sam2Network(CONFIGS[config.model])
        initialise(self.network)
        self.affinity = AffinityHead(self.network.config)
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
        self.optimizers = self._optimizers()

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Muon (Jordan et al. 2024) for the matrices of linear layers, AdamW for everything else.

        Muon's steps are scaled to the size of AdamW's, so that one learning rate serves both.
        """
        linear = [
            m.weight for m in self.network.modules() if isinstance(m, nn.Linear) and min(m.weight.shape) > 4
        ]
        taken = {id(weight) for weight in linear}
        others = [p for p in (*self.network.parameters(), *self.affinity.parameters()) if id(p) not in taken]
        decay = self.config.weight_decay
        return {
            "muon": torch.optim.Muon(linear, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
            "adamw": torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0),
        }

    def advance(self, batches: Mapping[int, ClipBatch]) -> dict[str, float]:
        """One optimiser step; returns what to log.

        Args:
            batches: by slot, those of the step's batches that are this process's share.
        """
        config = self.config
        rate = config.learning_rate(self.step)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = rate
        shapes = config.stage(self.step).batches
        logged = torch.zeros(len(LOGGED))
        for slot, batch in batches.items():
            rng = np.random.default_rng([config.seed, self.step, slot, 1])
            terms = self._terms(batch, draw_interaction(shapes[slot], rng))
            (terms["loss"] / len(shapes)).backward()
            logged += torch.stack([terms[name].detach() for name in LOGGED]) / len(shapes)
        self._group.sum_(logged)
        parameters = [*self.network.parameters(), *self.affinity.parameters()]
        self._group.sum_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, config.gradient_clip)
        for optimizer in self.optimizers.values():
            optimizer.step()
        self.average.update_parameters(self.network)
        self.step += 1
        values = dict(zip(LOGGED, logged.tolist(), strict=True))
        return {**values, "gradient": norm.item(), "learning_rate": rate}

    def _terms(self, batch: ClipBatch, interaction: Interaction) -> dict[str, Tensor]:
        """The loss of one batch, and what it is made of."""
        network = at_size(self.network, batch.frames.shape[-1])
        features = encode_frames(network, batch)
        losses = batch_losses(network, batch, features, interaction)
        affinity = self.affinity.loss(
            features[: batch.frames.shape[1]],
            batch.clip_of_object,
            batch.masks[0],
            torch.Generator().manual_seed(self.step),
        )
        weight = self.config.stage(self.step).affinity
        return {**vars(losses), "affinity": affinity, "loss": losses.total + weight * affinity}

    def save(self, path: Path) -> None:
        """Write everything needed to go on; the file is replaced only when the new one is complete."""
        modules = {name: part.state_dict() for name, part in self._modules().items()}
        optimizers = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        with replacing(path) as partial:
            torch.save({"step": self.step, **modules, **optimizers}, partial)

    def load(self, path: Path) -> None:
        """Take up the state that :meth:`save` wrote."""
        state = torch.load(path, weights_only=True)
        self.step = state["step"]
        for name, module in self._modules().items():
            module.load_state_dict(state[name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state[name])

    def _modules(self) -> dict[str, nn.Module]:
        return {"network": self.network, "affinity": self.affinity, "average": self.average}


def train(
    config: TrainingConfig,
    pool: Path,
    out: Path,
    until: int | None = None,
    start: Path | None = None,
) -> TrainingRun:
    """Train to the end of the configuration, or up to step ``until``, resuming what is in ``out``.

    Args:
        config: what to train, and how.
        pool: folder of the clips.
        out: folder of the run.
        until: a step, no later than the configuration's last.
        start: weights of an earlier run to begin with; only memory starts anew.
    """
    group = ProcessGroup()
    out.mkdir(parents=True, exist_ok=True)
    checkpoint, metrics = out / "checkpoint.pt", out / "metrics.jsonl"
    run = TrainingRun(config, group)
    if checkpoint.exists():
        run.load(checkpoint)
    elif start is not None:
        begin_with(run.network, start)
    else:
        first = ClipBatches(config, pool)[0, 0]
        network = at_size(run.network, first.frames.shape[-1])
        with torch.no_grad():
            features = encode_frames(network, first)
        rehearse(network, features, config.seed)
    steps = range(run.step, config.steps if until is None else until)
    held_out: dict[int, list[ClipBatch]] = {}
    shares = [(step, slot) for step in steps for slot in group.share(range(len(config.stage(step).batches)))]
    loader = DataLoader(ClipBatches(config, pool), batch_size=None, sampler=shares, num_workers=1)
    batches = zip(shares, loader, strict=True)
    recent: list[dict[str, float]] = []
    started = time.monotonic()
    progress = tqdm(steps, initial=run.step, total=steps.stop, unit="step", disable=not group.leads)
    for step in progress:
        mine = group.share(range(len(config.stage(step).batches)))
        recent.append(run.advance({slot: batch for (_, slot), batch in islice(batches, len(mine))}))
        if not group.leads:
            continue
        ended = run.step == steps.stop
        line: dict[str, float] = {}
        if run.step % LOGGED_EVERY == 0 or ended:
            line = {name: float(np.mean([entry[name] for entry in recent])) for name in recent[0]}
            recent.clear()
            progress.set_postfix(loss=f"{line['loss']:.3f}")
        if run.step % config.validate_every == 0 or ended:
            size = max(shape.image_size for shape in config.stage(step).batches)
            if size not in held_out:
                held_out[size] = validation_batches(config, size)
            line |= asdict(validate(at_size(run.average.module, size), held_out[size]))
        if line:
            entry = {"step": run.step, "seconds": time.monotonic() - started, **line}
            with metrics.open("a") as log:
                log.write(json.dumps(entry) + "\n")
        if run.step % config.checkpoint_every == 0 or ended:
            run.save(checkpoint)
    return run


def main() -> None:
    """Train a network on a pool of clips; started again it resumes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "configs" / "sam2_pico.yaml")
    parser.add_argument("--pool", type=Path, required=True, help="folder filled by sam2_core.training.pool")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--begin-with", type=Path, help="weights of an earlier run")
    options = parser.parse_args()
    keep_freed_memory()
    train(load_config(options.config), options.pool, options.out, start=options.begin_with)


if __name__ == "__main__":
    main()
