"""The value that every scene generator returns: one clip with its ground truth."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Scene:
    """One clip with ground truth. T frames of H x W pixels, K objects.

    Attributes:
        frames: uint8 [T, H, W, 3], RGB.
        labels: uint8 [T, H, W]; 0 is background, k is object k (1..K), after occlusion.
        names: the K object names; ``names[k - 1]`` belongs to label k.
        depth: float32 [T, H, W], distance along the optical axis in metres, or None where there is none.
        kinds: what the scene is made of, as ``"shape:star"``, ``"texture:checks"`` or ``"photo:brick"``.
    """

    frames: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    names: tuple[str, ...]
    depth: npt.NDArray[np.float32] | None = None
    kinds: frozenset[str] = field(default_factory=frozenset)

    def visible(self, min_area: int = 1) -> npt.NDArray[np.bool_]:
        """Which object shows at least `min_area` pixels on which frame: bool [T, K]."""
        counts = [np.bincount(frame.ravel(), minlength=len(self.names) + 1)[1:] for frame in self.labels]
        return np.stack(counts) >= min_area
