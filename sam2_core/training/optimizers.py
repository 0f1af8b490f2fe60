"""The optimisers of a run, and how much slower than the rest each of their groups of weights learns."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sam2_core.model import Sam2Network
from sam2_core.training.affinity import AffinityHead
from sam2_core.training.config import TrainingConfig

_TRUNK = "image_encoder.trunk."


class Optimizers:
    """One or two optimisers that share a learning rate.

    `adamw` follows the paper: weights of the encoder's trunk learn the slower the earlier their layer is, and
    norms and biases do not decay. `muon` (Jordan et al. 2024) takes the matrices of linear layers, and AdamW
    without decay everything else; its steps are scaled to the size of AdamW's, so that one rate serves both.
    """

    def __init__(self, network: Sam2Network, affinity: AffinityHead, config: TrainingConfig) -> None:
        if config.optimizer == "muon":
            self.named = _muon(network, affinity, config.weight_decay)
            self._scales = {name: [1.0] for name in self.named}
        else:
            groups, scales = _layer_groups(network, affinity, config)
            self.named = {"adamw": torch.optim.AdamW(groups, betas=(0.9, 0.999))}
            self._scales = {"adamw": scales}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self.named.values():
            optimizer.zero_grad()

    def step(self, rate: float) -> None:
        """Change the weights by their gradients, at most at this learning rate."""
        for name, optimizer in self.named.items():
            for group, scale in zip(optimizer.param_groups, self._scales[name], strict=True):
                group["lr"] = rate * scale
            optimizer.step()


def layer_rate(name: str, network: Sam2Network, config: TrainingConfig) -> float:
    """The learning rate of a weight as a share of the highest one.

    As in the released training code: layer l of the L blocks of the trunk, the patch embedding being layer 0,
    has `layer_decay` to the power of L + 1 - l; position embeddings have no layer.
    """
    rate = config.encoder_rate if name.startswith("image_encoder.") else 1.0
    if not name.startswith(_TRUNK) or "pos_embed" in name:
        return rate
    count = len(network.image_encoder.trunk.blocks)
    part = name.removeprefix(_TRUNK).split(".")
    layer = int(part[1]) + 1 if part[0] == "blocks" else 0
    return rate * config.layer_decay ** (count + 1 - layer)


def _layer_groups(
    network: Sam2Network, affinity: AffinityHead, config: TrainingConfig
) -> tuple[list[dict[str, list[nn.Parameter] | float]], list[float]]:
    norms = {id(p) for m in network.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in _named(network, affinity):
        decays = id(parameter) not in norms and "bias" not in name
        key = (layer_rate(name, network, config), config.weight_decay if decays else 0.0)
        groups.setdefault(key, []).append(parameter)
    listed: list[dict[str, list[nn.Parameter] | float]] = [
        {"params": parameters, "weight_decay": decay} for (_, decay), parameters in groups.items()
    ]
    return listed, [rate for rate, _ in groups]


def _muon(network: Sam2Network, affinity: AffinityHead, decay: float) -> dict[str, torch.optim.Optimizer]:
    linear: list[Tensor] = [
        m.weight for m in network.modules() if isinstance(m, nn.Linear) and min(m.weight.shape) > 4
    ]
    taken = {id(weight) for weight in linear}
    others = [parameter for _, parameter in _named(network, affinity) if id(parameter) not in taken]
    return {
        "muon": torch.optim.Muon(linear, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
        "adamw": torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0),
    }


def _named(network: Sam2Network, affinity: AffinityHead) -> Iterator[tuple[str, nn.Parameter]]:
    yield from network.named_parameters()
    yield from affinity.named_parameters(prefix="affinity")
