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
        parts: uint8 [T, H, W], or None where objects have no parts: 0 is background, p is part p (1..P).
            Every pixel of an object belongs to one of its parts; an object without parts is one.
        owners: the label of the object that each of the P parts belongs to; empty where `parts` is None.
    """

    frames: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    names: tuple[str, ...]
    depth: npt.NDArray[np.float32] | None = None
    kinds: frozenset[str] = field(default_factory=frozenset)
    parts: npt.NDArray[np.uint8] | None = None
    owners: tuple[int, ...] = ()

    def visible(self, min_area: int = 1) -> npt.NDArray[np.bool_]:
        """Which object shows at least `min_area` pixels on which frame: bool [T, K]."""
        counts = [np.bincount(frame.ravel(), minlength=len(self.names) + 1)[1:] for frame in self.labels]
        return np.stack(counts) >= min_area

    def finest(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """The finest labels there are, uint8 [T, H, W], and the object of each of them, uint8 [256].

        An object's mask is the set of labels that the table gives its number; a part's mask is one label.
        """
        table = np.zeros(256, np.uint8)
        if self.parts is None:
            table[: len(self.names) + 1] = np.arange(len(self.names) + 1)
            return self.labels, table
        table[1 : len(self.owners) + 1] = self.owners
        return self.parts, table
