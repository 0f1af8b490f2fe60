"""What automatic mask generation finds, and the forms in which it is handed on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..masks import compress_runs, mask_of_runs

Form = Literal["binary_mask", "uncompressed_rle", "coco_rle"]
"""How a record holds its mask: bool [H, W]; COCO run lengths as a list; COCO run lengths as a string."""


@dataclass(frozen=True, eq=False)
class AutomaticMask:
    """One mask that was found, run-length encoded, since hundreds of them are held at once."""

    runs: NDArray[np.int64]
    """COCO run lengths, int64 `[R]`: column by column, background first."""
    size: tuple[int, int]
    """(H, W) of the image."""
    box: tuple[int, int, int, int]
    """x0, y0, x1, y1 of the outermost pixels [px]; x1 and y1 belong to the mask."""
    predicted_iou: float
    """The network's own estimate of the mask's IoU."""
    stability: float
    """IoU of the masks at a higher and a lower threshold."""
    score: float
    """Object score, a raw logit; above 0 the network sees an object at the point."""
    point: tuple[float, float]
    """The grid point (x, y) that it was found from [px]."""
    crop: tuple[int, int, int, int]
    """x0, y0, x1, y1 of the part of the image that it was found in [px]; x1 and y1 lie just outside."""

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(self.runs[1::2].sum())

    @property
    def mask(self) -> NDArray[np.bool_]:
        """bool `[H, W]`, decoded at every call."""
        return mask_of_runs(self.runs, *self.size)

    def segmentation(self, form: Form) -> Any:
        """The mask in one of the forms; both encodings are COCO's `{"size": [H, W], "counts": ...}`.

        Raises:
            ValueError: there is no such form.
        """
        if form == "binary_mask":
            return self.mask
        if form == "uncompressed_rle":
            return {"size": list(self.size), "counts": self.runs.tolist()}
        if form == "coco_rle":
            return {"size": list(self.size), "counts": compress_runs(self.runs)}
        raise ValueError(f"form {form!r}; allowed: binary_mask, uncompressed_rle, coco_rle")

    def record(self, form: Form = "binary_mask") -> dict[str, Any]:
        """A record as the official generator writes it; boxes are x, y, width, height."""
        return {
            "segmentation": self.segmentation(form),
            "area": self.area,
            "bbox": _sides(self.box),
            "predicted_iou": self.predicted_iou,
            "point_coords": [list(self.point)],
            "stability_score": self.stability,
            "crop_box": _sides(self.crop),
        }


def _sides(box: tuple[int, int, int, int]) -> list[float]:
    x0, y0, x1, y1 = box
    return [float(value) for value in (x0, y0, x1 - x0, y1 - y0)]
