"""The processes of a training run, each with its share of every step's batches."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn


class ProcessGroup:
    """This process among those that torchrun started; on its own if there is no torchrun."""

    def __init__(self) -> None:
        self._size = int(os.environ.get("WORLD_SIZE", "1"))
        self._rank = int(os.environ.get("RANK", "0"))
        if self._size > 1 and not dist.is_initialized():
            dist.init_process_group("gloo")

    @property
    def leads(self) -> bool:
        """Whether this is the process that logs, validates and saves."""
        return self._rank == 0

    def share(self, slots: Sequence[int]) -> Sequence[int]:
        """Every n-th of the slots of a step, n being the number of processes."""
        return slots[self._rank :: self._size]

    def sum_(self, values: Tensor) -> None:
        """Replace ``values`` by their sum over all processes."""
        if self._size > 1:
            dist.all_reduce(values)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give every parameter the sum of its gradients over all processes; none counts as zero."""
        if self._size == 1:
            return
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
        self.sum_(flat)
        sizes = [p.numel() for p in parameters]
        for parameter, gradient in zip(parameters, flat.split(sizes), strict=True):
            parameter.grad = gradient.view_as(parameter)
