"""The processes of a training run, each with its share of every step's batches."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sam2_core.training.errors import TrainingError


class ProcessGroup:
    """This process among those that torchrun started; on its own if there is no torchrun.

    Args:
        device: "cpu", "cuda" or "auto", CUDA where there is one. Each process has a GPU of its own.

    Raises:
        TrainingError: there is no GPU for this process.
    """

    def __init__(self, device: str = "auto") -> None:
        self._size = int(os.environ.get("WORLD_SIZE", "1"))
        self._rank = int(os.environ.get("RANK", "0"))
        kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        place, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if kind == "cuda" and place >= gpus:
            raise TrainingError(
                f"device is {device}, and process {place} of this machine finds {gpus} GPUs; "
                "allowed: cpu, or as many processes as GPUs"
            )
        self.device = torch.device(f"cuda:{place}" if kind == "cuda" else "cpu")
        if self._size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if kind == "cuda" else "gloo")

    @property
    def size(self) -> int:
        """How many there are."""
        return self._size

    def close(self) -> None:
        """Leave the others, when all is done."""
        if self._size > 1:
            dist.destroy_process_group()

    @property
    def leads(self) -> bool:
        """Whether this is the process that logs, validates and saves."""
        return self._rank == 0

    def share(self, slots: Sequence[int]) -> Sequence[int]:
        """Every n-th of the slots of a step, n being the number of processes."""
        return slots[self._rank :: self._size]

    def sum_(self, values: Tensor) -> None:
        """Replace ``values``, on the group's device, by their sum over all processes."""
        if self._size > 1:
            dist.all_reduce(values)

    def agree(self, value: int) -> bool:
        """Whether all processes have the same value."""
        extremes = torch.tensor([value, -value], device=self.device)
        if self._size > 1:
            dist.all_reduce(extremes, dist.ReduceOp.MAX)
        return bool(extremes[0] == -extremes[1])

    def copy_from_leader(self, values: Iterable[Tensor]) -> None:
        """Replace ``values``, on the group's device, by those of the process that leads."""
        if self._size > 1:
            for value in values:
                dist.broadcast(value, src=0)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give every parameter the sum of its gradients over all processes, and none where none has one.

        A gradient of zeros would not do there: the optimiser would go on to decay weights that nothing uses.

        The sums are copied to where the gradients lie. Left as pieces of one tensor they would not begin at
        multiples of 64 bytes, and on some processors the order in which a kernel sums depends on that: the
        norm of the gradient, and so every weight, would differ in its last digit from a single process's.
        """
        if self._size == 1:
            return
        given = torch.tensor([float(p.grad is not None) for p in parameters], device=self.device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([given, *(gradient.flatten() for gradient in gradients)])
        self.sum_(flat)
        counts, *sums = flat.split([len(gradients), *(gradient.numel() for gradient in gradients)])
        for parameter, gradient, total in zip(parameters, gradients, sums, strict=True):
            parameter.grad = gradient.copy_(total.view_as(gradient))
        for unused in (counts == 0).nonzero().flatten().tolist():
            parameters[unused].grad = None
