"""What a user may tune about automatic mask generation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AutomaticOptions:
    """Options of `AutomaticMaskGenerator`; the defaults are the official generator's.

    Raises:
        ValueError: a value is outside of what is allowed; the message names it.
    """

    points_per_side: int = 32
    """The grid on the whole image has this many points on a side; each is a prompt of one click."""
    points_per_batch: int = 64
    """Points decoded at once; more cost memory."""
    predicted_iou: float = 0.8
    """Candidates must have a predicted IoU above this."""
    stability: float = 0.95
    """Candidates must have at least this stability: IoU of the masks at thresholds +- `stability_offset`."""
    stability_offset: float = 1.0
    """In logits, on both sides of `mask_threshold`."""
    mask_threshold: float = 0.0
    """Logit above which a pixel is the object's."""
    box_nms: float = 0.7
    """Of two masks of a crop whose boxes overlap by more than this IoU, the better one stays."""
    crop_layers: int = 0
    """Layer n searches the image again in 2^n x 2^n overlapping crops, for small objects, at 4^n the cost."""
    crop_nms: float = 0.7
    """The same as `box_nms` between crops, where the mask of the smaller crop stays."""
    crop_overlap: float = 512 / 1500
    """Overlap of the crops of layer 1, as a fraction of the image's short side; half as much in each next."""
    crop_points_divisor: int = 1
    """Layer n's grid has `points_per_side` / this^n points on a side."""
    min_region_area: int = 0
    """Holes are filled and islands removed that are smaller than this [px of the image]; 0 keeps all."""
    min_area: int = 0
    """Masks smaller than this are dropped [px of the image]."""
    multimask: bool = True
    """Whether each point gives its three candidates, or one mask."""

    def __post_init__(self) -> None:
        for name, least in (
            ("points_per_side", 1),
            ("points_per_batch", 1),
            ("crop_layers", 0),
            ("crop_points_divisor", 1),
            ("min_region_area", 0),
            ("min_area", 0),
            ("stability_offset", 0),
        ):
            value = getattr(self, name)
            if not value >= least:
                raise ValueError(f"{name} is {value}; allowed: {least} or more")
        for name in ("predicted_iou", "stability", "box_nms", "crop_nms", "crop_overlap"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; allowed: 0 to 1")
        if self.points_per_side < self.crop_points_divisor**self.crop_layers:
            raise ValueError(
                f"points_per_side is {self.points_per_side}; allowed: so many that layer {self.crop_layers} "
                f"keeps one, {self.crop_points_divisor**self.crop_layers} or more"
            )
