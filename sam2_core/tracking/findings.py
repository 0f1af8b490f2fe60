"""What the network found about objects, as rows of tensors: on one frame, or all that a stream remembers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from ..model import Sam2Config
from ..transfer import upload


@dataclass(eq=False)
class Findings:
    """R rows, each of one object on one frame."""

    maps: Tensor
    """The memories `[R, Cm, s, s]`, bfloat16 as in the official predictor."""
    pointers: Tensor
    """The object pointers `[R, C]`."""
    logits: Tensor
    """Mask logits `[R, 1, 4s, 4s]`, float32."""
    scores: Tensor
    """Object score logits `[R]`."""
    ious: Tensor
    """Predicted IoU of the masks `[R]`."""

    @property
    def tensors(self) -> list[Tensor]:
        """All of them, in order."""
        return [getattr(self, field.name) for field in fields(Findings)]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return sum(tensor[0].nbytes for tensor in self.tensors)

    def row(self, index: int) -> Findings:
        """One row, copied, so that it keeps no other row alive."""
        return Findings(*(tensor[index : index + 1].clone() for tensor in self.tensors))


class Arena(Findings):
    """The rows of all memories of a stream, in tensors that stay where they are while objects are tracked.

    A row is taken for every memory that is stored, and free again when that memory is released. `reserve`
    makes rows; where there are as many as are ever taken at once, nothing is allocated any more.
    """

    def __init__(self, config: Sam2Config, device: torch.device) -> None:
        side, mask_side = config.embedding_size, config.mask_size
        super().__init__(
            maps=torch.zeros(0, config.memory_dim, side, side, dtype=torch.bfloat16, device=device),
            pointers=torch.zeros(0, config.hidden_dim, device=device),
            logits=torch.zeros(0, 1, mask_side, mask_side, device=device),
            scores=torch.zeros(0, device=device),
            ious=torch.zeros(0, device=device),
        )
        self._free: list[int] = []

    @property
    def capacity(self) -> int:
        """Rows that there are."""
        return len(self.scores)

    @property
    def taken_bytes(self) -> int:
        """Bytes of the rows that hold a memory."""
        taken = self.capacity - len(self._free)
        return taken * self.row_bytes if taken else 0

    def reserve(self, rows: int) -> None:
        """Makes room for so many rows in all, at least twice as many as before where there are too few."""
        before = self.capacity
        if rows <= before:
            return
        after = max(rows, 2 * before)
        for field in fields(Findings):
            old = getattr(self, field.name)
            # Zero, since a row that is read as padding has a weight of 0, which must not meet a NaN.
            new = old.new_zeros(after, *old.shape[1:])
            new[:before] = old
            setattr(self, field.name, new)
        # The lowest are taken first.
        self._free[:0] = range(after - 1, before - 1, -1)

    def store(self, found: Findings) -> list[int]:
        """Copies findings into free rows: one copy per tensor, however many rows. Returns the rows."""
        count = len(found.scores)
        self.reserve(self.capacity - len(self._free) + count)
        rows = [self._free.pop() for _ in range(count)]
        index = upload(np.array(rows), self.maps.device)
        for place, tensor in zip(self.tensors, found.tensors, strict=True):
            place.index_copy_(0, index, tensor)
        return rows

    def release(self, rows: Sequence[int]) -> None:
        """Frees rows, whose memories are not to be read any more."""
        self._free.extend(rows)
