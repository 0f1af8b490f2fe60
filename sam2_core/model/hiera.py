"""The image encoder's trunk: Hiera (arXiv 2306.00989) with windowed position embedding (arXiv 2311.05613)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import HieraConfig
from .layers import MLP, attention


def fill_windows(x: Tensor, side: int, filling: Tensor) -> Tensor:
    """`[B, H, W, C]` with `filling` `[C]` right and below, so that both sides hold whole windows."""
    pad_y, pad_x = -x.shape[1] % side, -x.shape[2] % side
    if pad_x:
        x = torch.cat((x, filling.to(x.dtype).expand(*x.shape[:2], pad_x, -1)), dim=2)
    if pad_y:
        x = torch.cat((x, filling.to(x.dtype).expand(len(x), pad_y, x.shape[2], -1)), dim=1)
    return x


def split_windows(x: Tensor, side: int) -> Tensor:
    """`[B, H, W, C]` to windows `[B * n, side, side, C]`."""
    x = x.unflatten(2, (-1, side)).unflatten(1, (-1, side))
    return x.transpose(2, 3).flatten(0, 2)


def join_windows(x: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """Windows `[B * n, side, side, C]` back to `[B, H, W, C]` without the padding; `size` is (H, W)."""
    height, width = size
    rows, columns = -(-height // side), -(-width // side)
    x = x.unflatten(0, (-1, rows, columns)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return x[:, :height, :width]


def pool(x: Tensor) -> Tensor:
    """2 x 2 maximum of `[B, H, W, C]`."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


class WindowAttention(nn.Module):
    """Self-attention within windows of `window` x `window` tokens, or over everything where `window` is 0.

    With `pooled`, queries are 2 x 2 maxima.
    """

    def __init__(self, dim_in: int, dim: int, heads: int, window: int, pooled: bool) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.pooled = pooled
        self.qkv = nn.Linear(dim_in, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, H, W, dim_in]` to `[B, H, W, dim]`, or half the height and width where pooled."""
        qkv = self.qkv(x)
        if not self.window:
            return self.proj(self._attend(qkv))
        # Windows are filled with zeros before the projection; only its bias comes of them.
        out = self._attend(split_windows(fill_windows(qkv, self.window, self.qkv.bias), self.window))
        halves = 2 if self.pooled else 1
        size = (x.shape[1] // halves, x.shape[2] // halves)
        return self.proj(join_windows(out, self.window // halves, size))

    def _attend(self, qkv: Tensor) -> Tensor:
        """Queries, keys and values side by side, `[B, H, W, 3 * dim]`, to what is read."""
        q, k, v = qkv.chunk(3, dim=-1)
        if self.pooled:
            q = pool(q)
        height, width = q.shape[1:3]
        q, k, v = (t.flatten(1, 2).unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        return attention(q, k, v).transpose(1, 2).flatten(2).unflatten(1, (height, width))


class HieraBlock(nn.Module):
    """One transformer block; the first of a stage may widen the channels and halve the resolution.

    Args:
        dim_in: channels coming in.
        dim: channels going out.
        heads: attention heads.
        window: side of the attention window at the incoming resolution [tokens]; 0 attends globally.
        pooled: whether the resolution is halved.
    """

    def __init__(self, dim_in: int, dim: int, heads: int, window: int, pooled: bool) -> None:
        super().__init__()
        self.pooled = pooled
        self.norm1 = nn.LayerNorm(dim_in, eps=1e-6)
        self.attn = WindowAttention(dim_in, dim, heads, window, pooled)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MLP((dim, 4 * dim, dim), F.gelu)
        if dim != dim_in:
            self.proj = nn.Linear(dim_in, dim)

    def forward(self, x: Tensor, drop_path: float = 0.0) -> Tensor:
        """`[B, H, W, dim_in]` to `[B, H, W, dim]`, or half the height and width where pooled.

        In training both branches are left out with probability `drop_path`, image by image.
        """
        shortcut = x
        x = self.norm1(x)
        if hasattr(self, "proj"):
            shortcut = self.proj(x)
            if self.pooled:
                shortcut = pool(shortcut)
        x = shortcut + self._dropped(self.attn(x), drop_path)
        return x + self._dropped(self.mlp(self.norm2(x)), drop_path)

    def _dropped(self, branch: Tensor, rate: float) -> Tensor:
        if not self.training or not rate:
            return branch
        kept = torch.rand(len(branch), 1, 1, 1, device=branch.device) >= rate
        return branch * kept / (1 - rate)


class PatchEmbedding(nn.Module):
    """Overlapping 7 x 7 patches at stride 4: `[B, 3, S, S]` to `[B, S / 4, S / 4, C]`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=7, stride=4, padding=3)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.proj(pixels).permute(0, 2, 3, 1).contiguous()


class Hiera(nn.Module):
    """Four stages at strides 4, 8, 16 and 32, the channels doubling with each."""

    def __init__(self, config: HieraConfig) -> None:
        super().__init__()
        self.widths = tuple(config.width * 2**stage for stage in range(4))
        self.patch_embed = PatchEmbedding(config.width)
        # Random, not zero, so that a model trained from scratch can tell positions apart at once.
        grid = (config.position_grid, config.position_grid)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, config.width, *grid))
        self.pos_embed_window = nn.Parameter(0.02 * torch.randn(1, config.width, *(2 * config.windows[:1])))
        self.drop_path = 0.0
        """How often training leaves the branches of the last block out (stochastic depth, arXiv 1603.09382);
        rises linearly from 0 at the first block."""
        self.blocks = nn.ModuleList()
        self.stage_ends = []
        for stage, depth in enumerate(config.depths):
            for position in range(depth):
                index = len(self.blocks)
                first = stage > 0 and position == 0
                # The block that changes the resolution still works on the windows of the stage before.
                window = config.windows[stage - 1 if first else stage]
                self.blocks.append(
                    HieraBlock(
                        self.widths[stage - 1 if first else stage],
                        self.widths[stage],
                        config.heads * 2**stage,
                        window=0 if index in config.global_blocks else window,
                        pooled=first,
                    )
                )
            self.stage_ends.append(len(self.blocks) - 1)

    def position_embedding(self, size: int) -> Tensor:
        """`[1, size, size, C]`: a stretched coarse grid plus one window's embedding, repeated."""
        # Bicubic, as a product with a matrix from either side: each row of it is one place's weights.
        grid = torch.eye(self.pos_embed.shape[-1], device=self.pos_embed.device)
        stretch = F.interpolate(grid[None, :, :, None], size=(size, 1), mode="bicubic")[0, :, :, 0]
        coarse = torch.einsum("bcij,iy,jx->byxc", self.pos_embed, stretch, stretch)
        repeats = size // self.pos_embed_window.shape[-1]
        return coarse + self.pos_embed_window.permute(0, 2, 3, 1).tile(1, repeats, repeats, 1)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """`[B, 3, S, S]` to one map `[B, C, H, W]` per stage, finest first."""
        x = self.patch_embed(pixels)
        x = x + self.position_embedding(x.shape[1])
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x, self.drop_path * index / (len(self.blocks) - 1))
            if index in self.stage_ends:
                maps.append(x.permute(0, 3, 1, 2))
        return maps
