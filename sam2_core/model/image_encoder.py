"""The image encoder: Hiera with a feature pyramid neck (paper, section 4 and appendix D.1)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .config import Sam2Config
from .hiera import Hiera


class Neck(nn.Module):
    """Projects every stage to C channels; only stride 32 flows down, into stride 16.

    Strides 4 and 8 keep their own features: they skip to the mask decoder.
    """

    def __init__(self, widths: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        for width in reversed(widths):
            level = nn.Sequential()
            level.add_module("conv", nn.Conv2d(width, dim, kernel_size=1))
            self.convs.append(level)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of strides 4, 8, 16, 32 to C-channel maps of strides 4, 8, 16."""
        stride32, stride16, stride8, stride4 = (
            conv(x) for conv, x in zip(self.convs, reversed(maps), strict=True)
        )
        return stride4, stride8, stride16 + F.interpolate(stride32.float(), scale_factor=2.0, mode="nearest")


class ImageEncoder(nn.Module):
    """`[B, 3, S, S]` to C-channel maps of strides 4, 8 and 16."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        self.trunk = Hiera(config.hiera)
        self.neck = Neck(self.trunk.widths, config.hidden_dim)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.neck(self.trunk(pixels))
