"""A training run: its weights, what is done with one step's batches, and its file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sam2_core.files import replacing
from sam2_core.model import CONFIGS, ImageFeatures, Sam2Network, multiplies_bfloat16
from sam2_core.training.affinity import AffinityHead
from sam2_core.training.batches import ClipBatch
from sam2_core.training.config import TrainingConfig
from sam2_core.training.errors import TrainingError
from sam2_core.training.export import averaged_weights
from sam2_core.training.initialisation import initialise
from sam2_core.training.interaction import draw_interaction
from sam2_core.training.losses import Losses, prediction_losses
from sam2_core.training.optimizers import Optimizers
from sam2_core.training.processes import ProcessGroup
from sam2_core.training.rollout import Interaction, Rollout, encode_frames

LOGGED = ("loss", "focal", "dice", "iou", "occlusion", "affinity")


@dataclass(frozen=True)
class Step:
    """What one step came to."""

    values: dict[str, float]
    """To be logged: means over the batches that counted; the norm of the gradient; the learning rate."""
    left_out: dict[int, str]
    """By slot, why a batch of this process was left out."""
    updated: bool
    """Whether the weights were: the gradient was finite, and some batch of some process counted."""


def batch_losses(
    network: Sam2Network,
    batch: ClipBatch,
    features: ImageFeatures,
    interaction: Interaction,
    alpha: float,
    checkpointing: bool = False,
) -> Losses:
    """Losses of one batch: the sum over a frame's answers, the mean over frames where some truth is known.

    Masks are compared at twice the decoder's resolution: finer costs time and teaches nothing, because
    the logits are enlarged bilinearly from there.
    """
    truths, visible, known = halved(batch.masks).float(), batch.masks.flatten(2).any(dim=2), batch.known
    supervised = known.any(dim=1).tolist()
    terms, frames = [], set()
    for answer in Rollout(network, batch, features, interaction, checkpointing).run():
        t = answer.frame
        if supervised[t]:
            frames.add(t)
            terms.append(
                prediction_losses(
                    answer.logits, answer.iou, answer.score, truths[t], visible[t], known[t], alpha
                )
            )
    names = ("focal", "dice", "iou", "occlusion")
    sums = {name: torch.stack([getattr(term, name) for term in terms]).sum() for name in names}
    return Losses(**{name: total / len(frames) for name, total in sums.items()})


def halved(masks: Tensor) -> Tensor:
    """Masks [..., S, S] at half the side: a pixel is in where at least two of its four were."""
    quarters = [masks[..., i::2, j::2].byte() for i in (0, 1) for j in (0, 1)]
    return sum(quarters[1:], start=quarters[0]) >= 2


@lru_cache(maxsize=4)
def at_size(network: Sam2Network, size: int) -> Sam2Network:
    """The same network for inputs of ``size`` pixels: no weight depends on it, and all are shared."""
    if size == network.config.image_size:
        return network
    resized = Sam2Network(replace(network.config, image_size=size)).to(network.device)
    resized.precision = network.precision
    resized.image_encoder.trunk.drop_path = network.image_encoder.trunk.drop_path
    resized.memory_attention.dropout = network.memory_attention.dropout
    resized.train(network.training)
    for name, module in resized.named_modules():
        module._parameters = network.get_submodule(name)._parameters
    resized.sam_prompt_encoder.pe_layer = network.sam_prompt_encoder.pe_layer
    return resized


class TrainingRun:
    """The state of a run: weights, their moving average, optimisers, number of the next step."""

    def __init__(self, config: TrainingConfig, group: ProcessGroup) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self._group = group
        self.step = 0
        self.network = Sam2Network(CONFIGS[config.model])
        initialise(self.network)
        reduced = {"auto": multiplies_bfloat16(str(group.device)), "bfloat16": True, "float32": False}
        self.network.precision = "bfloat16" if reduced[config.precision] else "float32"
        self.network.image_encoder.trunk.drop_path = config.drop_path
        self.network.memory_attention.dropout = config.dropout
        self.affinity = AffinityHead(self.network.config)
        self.network.to(group.device)
        self.affinity.to(group.device)
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay)).eval()
        self.optimizers = Optimizers(self.network, self.affinity, config)

    def advance(self, batches: Mapping[int, ClipBatch]) -> Step:
        """One optimiser step. Batches whose loss is not finite are left out of it.

        Args:
            batches: by slot, those of the step's batches that are this process's share.
        """
        config = self.config
        self.optimizers.zero_grad()
        shapes = config.stage(self.step).slots
        logged = torch.zeros(len(LOGGED) + 1, device=self._group.device)  # and how many batches counted
        left_out: dict[int, str] = {}
        for slot, batch in batches.items():
            interaction = self.interaction(self.step, slot, batch)
            terms = self._terms(slot, batch.to(self._group.device), interaction)
            if not torch.isfinite(terms["loss"]):
                left_out[slot] = f"its loss is {terms['loss'].item()}"
                continue
            (terms["loss"] / len(shapes)).backward()
            logged += torch.stack([*(terms[name].detach() for name in LOGGED), logged.new_ones(())])
        self._group.sum_(logged)
        counted = int(logged[-1])
        parameters = [*self.network.parameters(), *self.affinity.parameters()]
        self._group.sum_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, config.gradient_clip)
        rate = config.learning_rate(self.step)
        finite = bool(torch.isfinite(norm))
        updated = finite and counted > 0
        if not finite:
            reason = f"the norm of the step's gradient is {norm.item()}"
            left_out = dict.fromkeys(batches, reason) | left_out
        if updated:
            self.optimizers.step(rate)
            self.average.update_parameters(self.network)
        self.step += 1
        means = (logged[:-1] / max(counted, 1)).tolist()
        values = {**dict(zip(LOGGED, means, strict=True)), "gradient": norm.item(), "learning_rate": rate}
        return Step(values if updated else {}, left_out, updated)

    def interaction(self, step: int, slot: int, batch: ClipBatch) -> Interaction:
        """How the simulated user treats a batch; the same one whenever asked."""
        rng = np.random.default_rng([self.config.seed, step, slot, 1])
        return draw_interaction(self.config.stage(step).slots[slot], batch, self.config.smallest_object, rng)

    def _terms(self, slot: int, batch: ClipBatch, interaction: Interaction) -> dict[str, Tensor]:
        """The loss of the batch of a slot of this step, and what it is made of."""
        config = self.config
        network = at_size(self.network, batch.frames.shape[-1])
        # What is left out at random depends on step and slot alone, whatever this process ran before.
        torch.manual_seed(int(np.random.default_rng([config.seed, self.step, slot, 2]).integers(2**63)))
        features = encode_frames(network, batch, config.checkpointing)
        losses = batch_losses(network, batch, features, interaction, config.focal_alpha, config.checkpointing)
        weight = config.stage(self.step).affinity
        affinity = torch.zeros((), device=batch.frames.device)
        if weight:
            affinity = self.affinity.loss(
                features[: batch.frames.shape[1]],
                batch.clip_of_object,
                batch.masks[0],
                torch.Generator().manual_seed(self.step),
            )
        return {**vars(losses), "affinity": affinity, "loss": losses.total + weight * affinity}

    def save(self, folder: Path) -> None:
        """Write `model.safetensors`, the averaged weights, and `checkpoint.pt`, everything needed to go on.

        A file is replaced only when the new one is complete, and none by weights that are not finite. The
        checkpoint comes last: a run that is killed before it is there goes on from the one before.

        Raises:
            TrainingError: they are not.
        """
        if not all(bool(torch.isfinite(p).all()) for p in self.network.parameters()):
            raise TrainingError(f"step {self.step}: weights are no longer finite, and are not saved")
        modules = {name: part.state_dict() for name, part in self._modules().items()}
        optimizers = {name: one.state_dict() for name, one in self.optimizers.named.items()}
        with replacing(folder / "model.safetensors") as partial:
            save_file(averaged_weights(modules["average"]), partial)
        with replacing(folder / "checkpoint.pt") as partial:
            torch.save({"step": self.step, **modules, **optimizers}, partial)

    def load(self, path: Path) -> None:
        """Take up the state that :meth:`save` wrote.

        Raises:
            TrainingError: it is damaged, or of a run with another model or other optimisers.
        """
        try:
            state = torch.load(path, weights_only=True, map_location=self._group.device)
            self.step = state["step"]
            for name, module in self._modules().items():
                module.load_state_dict(state[name])
            for name, optimizer in self.optimizers.named.items():
                optimizer.load_state_dict(state[name])
        except (RuntimeError, ValueError, TypeError, KeyError, EOFError, pickle.UnpicklingError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise TrainingError(f"{path} is not of this configuration, or damaged: {reason}") from error

    def copy_from_leader(self) -> None:
        """Take up the weights of the process that leads, so that all begin with the same.

        Raises:
            TrainingError: the processes are not at the same step.
        """
        if not self._group.agree(self.step):
            raise TrainingError(
                f"this process begins at step {self.step} and others do not; allowed: a folder of the run, "
                "--out, that all of them share"
            )
        self._group.copy_from_leader(
            value for module in self._modules().values() for value in module.state_dict().values()
        )

    def _modules(self) -> dict[str, nn.Module]:
        return {"network": self.network, "affinity": self.affinity, "average": self.average}
