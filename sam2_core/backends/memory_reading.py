"""How a stage reads the memory: the attention of a frame's tokens to memory tokens, in three ways that agree.

A frame's L queries q `[N, 1, L, C]` attend to T keys k `[N, 1, T, C]`; the values are projections of the
memory tokens M `[N, T, Cm]`, V = M W + b with C columns, where Cm is C / 4. The rows of the weights
A = softmax(q k^T / sqrt(C)) add up to 1, so that

    A V = A (M W + b) = (A M) W + b,

and the weighted sum may run over M's Cm channels instead of V's C: of 2 L T (C + C) multiplications and
additions 2 L T (C + Cm) are left. Whether that is faster is up to the kernel:

- `read_wide` projects first, so that all widths are equal, for which every kernel of PyTorch's is made;
- `read_narrow` reads the memory's own channels with PyTorch's attention, few kernels of which take unequal
  widths;
- `read_flex` does so with FlexAttention (arXiv 2412.05496), which compiles a kernel for the widths at hand,
  and leaves out blocks of keys that may not be read: an empty slot of the history costs nothing, where under
  a mask it costs as much as a full one.

On a CPU FlexAttention computes step by step and saves nothing; there it only serves to test the mathematics.
`fastest_reading` measures on the device which one to take, and takes none that errs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention

ReadMemory = Callable[[Tensor, Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]], Tensor]
"""q `[N, 1, L, C]`, k `[N, 1, T, C]`, memory tokens `[N, T, Cm]`, what is added to the scores `[N, 1, 1, T]`
(0 where a token may be read), and the projection of the values, to what was read `[N, L, C]`."""

_BLOCK = 128
"""Keys, and queries, that FlexAttention takes or leaves together."""
_TOLERANCE = 0.02
"""Largest difference to `read_wide` of a reading that is taken, as part of the largest value: some steps of
bfloat16."""
_WARM_UPS, _RUNS = 3, 15
_SHAPES = 64
"""Of which a function may be compiled."""


def read_wide(
    q: Tensor, k: Tensor, memory: Tensor, mask: Tensor, project: Callable[[Tensor], Tensor]
) -> Tensor:
    """Projects the memory, then reads."""
    return F.scaled_dot_product_attention(q, k, project(memory)[:, None], attn_mask=mask.to(q.dtype))[:, 0]


def read_narrow(
    q: Tensor, k: Tensor, memory: Tensor, mask: Tensor, project: Callable[[Tensor], Tensor]
) -> Tensor:
    """Reads the memory, then projects what was read."""
    values = memory[:, None].to(q.dtype)
    return project(F.scaled_dot_product_attention(q, k, values, attn_mask=mask.to(q.dtype))[:, 0])


def read_flex(
    q: Tensor, k: Tensor, memory: Tensor, mask: Tensor, project: Callable[[Tensor], Tensor]
) -> Tensor:
    """As `read_narrow`, leaving out blocks of which nothing may be read."""
    blocks = readable_blocks(mask[:, 0, 0] == 0, q.shape[2])
    attend: Any = _compiled_flex_attention() if q.is_cuda else flex_attention
    return project(attend(q, k, memory[:, None].to(q.dtype), block_mask=blocks)[:, 0])


READINGS: dict[str, ReadMemory] = {"wide": read_wide, "narrow": read_narrow, "flex": read_flex}


def readable_blocks(readable: Tensor, queries: int) -> BlockMask:
    """Which blocks of keys FlexAttention reads, by which tokens may be read, bool `[N, T]`.

    Computed on the device, without the host's knowing what is readable.
    """
    count, tokens = readable.shape
    padded = F.pad(readable, (0, -tokens % _BLOCK)).unflatten(1, (-1, _BLOCK))
    some, every = padded.any(dim=2), padded.all(dim=2)
    rows = -(-queries // _BLOCK)

    def listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
        """How many blocks are to be read, and their indices before those of the others, for each row."""
        number = blocks.sum(dim=1, keepdim=True)
        places = torch.where(blocks, blocks.cumsum(1) - 1, number + (~blocks).cumsum(1) - 1)
        order = torch.arange(blocks.shape[1], device=blocks.device).expand_as(places)
        indices = torch.zeros_like(places).scatter_(1, places, order)
        return (
            number[:, None].expand(count, 1, rows).to(torch.int32).contiguous(),
            indices[:, None, None].expand(count, 1, rows, -1).to(torch.int32).contiguous(),
        )

    def may_read(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return readable[b, key]

    return BlockMask.from_kv_blocks(
        *listed(some & ~every),
        *listed(every),
        BLOCK_SIZE=_BLOCK,
        mask_mod=may_read,
        seq_lengths=(queries, tokens),
        compute_q_blocks=False,
    )


@cache
def _compiled_flex_attention() -> Any:
    return compile_for_shapes(flex_attention)


def compile_for_shapes(function: Any) -> Any:
    """A function or module compiled anew for every shape that it meets."""
    # There is a program for each number of objects and each history: more shapes than PyTorch compiles of one
    # function as it comes, after which it would go on without compiling.
    limits = torch._dynamo.config  # imported here: it takes two seconds and 70 MB, and only GPUs compile
    limits.cache_size_limit = max(limits.cache_size_limit, _SHAPES)
    return torch.compile(function, dynamic=False)


@dataclass(frozen=True)
class Choice:
    """Which way to read, and why."""

    name: str
    """One of `READINGS`."""
    found: dict[str, str]
    """For each of `READINGS`: how long it took, or why it cannot be taken."""


def fastest_reading(
    objects: int, queries: int, tokens: int, widths: tuple[int, int], dtype: torch.dtype, device: torch.device
) -> Choice:
    """Measures on a device which reading is fastest, for N objects, L queries, T tokens and widths (C, Cm).

    A reading that fails there, or whose result differs from that of `read_wide`, is not taken.
    """
    generator = torch.Generator(device).manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device).to(dtype)

    width, narrow = widths
    q, k = noise(objects, 1, queries, width), noise(objects, 1, tokens, width)
    memory, mask = noise(objects, tokens, narrow), torch.zeros(objects, 1, 1, tokens, device=device)
    mask[..., -(tokens // 3) :] = -3e4  # as while a history is growing
    weight = noise(width, narrow) / narrow**0.5

    def run(read: ReadMemory) -> Tensor:
        return read(q, k, memory, mask, lambda values: F.linear(values, weight))

    expected = run(read_wide).float()
    seconds: dict[str, float] = {}
    found: dict[str, str] = {}
    for name, read in READINGS.items():
        try:
            error = float((run(read).float() - expected).abs().max() / expected.abs().max())
            if not error <= _TOLERANCE:  # NaN too
                found[name] = f"differs by {error:.2g} of the largest value"
                continue
            seconds[name] = _median_seconds(lambda read=read: run(read), device)  # type: ignore[misc]
            found[name] = f"{1e3 * seconds[name]:.3g} ms"
        except Exception as failure:  # whatever a compiler or driver raises, the others are there
            found[name] = f"fails: {(str(failure) or repr(failure)).splitlines()[0]}"
    return Choice(min(seconds, key=lambda name: seconds[name]), found)


def _median_seconds(run: Callable[[], object], device: torch.device) -> float:
    """The median time of a run, the device's work included."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    times = []
    for index in range(_WARM_UPS + _RUNS):
        wait()
        started = time.perf_counter()
        run()
        wait()
        if index >= _WARM_UPS:
            times.append(time.perf_counter() - started)
    return statistics.median(times)
