"""Copies between the host and the device of the network, as few and as late as possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def upload(values: NDArray[Any], device: torch.device) -> Tensor:
    """An array as a tensor on a device; on a CPU the tensor is the array's own memory, if it is writeable.

    To a GPU it goes through pinned memory, so that the call returns before the copy is done. PyTorch keeps
    that memory until then, and for the calls that follow.
    """
    # Of memory that must not be written, a mapped file for example, PyTorch gives a warning.
    tensor = torch.from_numpy(values if values.flags.writeable else values.copy())
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def download(tensors: Sequence[Tensor]) -> list[NDArray[Any]]:
    """Tensors of N rows each as arrays of their types and shapes, in a single copy: the host waits once.

    From a GPU it goes into pinned memory, several times as fast as into any other; PyTorch keeps that memory
    for later calls once the arrays are gone. On a CPU the arrays are the tensors' own memory.
    """
    if all(tensor.is_cpu for tensor in tensors):
        return [tensor.numpy() for tensor in tensors]
    joined = join_bytes(tensors)
    host = torch.empty(joined.shape, dtype=torch.uint8, pin_memory=True)
    host.copy_(joined, non_blocking=True)
    torch.cuda.current_stream(joined.device).synchronize()
    return split_bytes(host.numpy(), tensors)


def join_bytes(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors of N rows each as one: uint8 `[N, B]`, the bytes of every row one after the other."""
    return torch.cat([t.reshape(len(t), -1).contiguous().view(torch.uint8) for t in tensors], dim=1)


def split_bytes(joined: NDArray[np.uint8], like: Sequence[Tensor]) -> list[NDArray[Any]]:
    """What `join_bytes` joined, as arrays of the types and shapes that the tensors `like` have."""
    arrays, start = [], 0
    for tensor in like:
        end = start + tensor.nbytes // max(len(tensor), 1)
        kind = torch.empty(0, dtype=tensor.dtype).numpy().dtype
        part = np.ascontiguousarray(joined[:, start:end]).view(kind)
        arrays.append(part.reshape(tuple(tensor.shape)))
        start = end
    return arrays
