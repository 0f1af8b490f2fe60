"""Prompts as a user would give them, drawn from ground truth and from the error of a prediction."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

BoolMask = NDArray[np.bool_]  # [H, W]

TRUTH_SHARE = 0.1  # of the corrections of a simulated user who does not look at the error


def deepest_point(region: BoolMask) -> tuple[int, int, float]:
    """The pixel (x, y) of a region [H, W] farthest from its edge, and that distance in pixels (0: empty).

    The border of the image counts as an edge: a click there is as unlikely as one beside an outline.
    """
    distance = _depths(region)
    y, x = divmod(int(distance.argmax()), region.shape[1])
    return x, y, float(distance[y, x])


def first_click(mask: BoolMask, rng: np.random.Generator | None) -> tuple[float, float]:
    """A pixel (x, y) of a non-empty mask: towards the middle, as people click; or the deepest one.

    With a generator, a pixel's probability is proportional to its distance from the edge. Clicks at the very
    outline would mostly teach to guess which side of it was meant.
    """
    if rng is None:
        x, y, _ = deepest_point(mask)
        return float(x), float(y)
    ys, xs = np.nonzero(mask)
    depth = _depths(mask)[ys, xs].astype(np.float64)
    pick = rng.choice(len(xs), p=depth / depth.sum())
    return float(xs[pick]), float(ys[pick])


def correction_click(
    predicted: BoolMask, truth: BoolMask, rng: np.random.Generator | None = None
) -> tuple[float, float, int]:
    """A click (x, y, label) in the middle of the largest error, label 1 where the mask must grow, else 0.

    As in Meta's code (`sample_one_point_from_error_center`, after RITM, Sofiiuk et al. 2021) the larger error
    is the deeper one, and of two alike the surplus. Where nothing is wrong, that code clicks with label 0 on
    the pixel (0, 0); here the click confirms: the deepest point of the object, or of the background when the
    object is hidden. With a generator one click in ten is on the object, whatever was predicted (SAM 2,
    appendix D.2.1).
    """
    if rng is not None and rng.random() < TRUTH_SHARE and truth.any():
        return *first_click(truth, rng), 1
    missing_x, missing_y, missing = deepest_point(truth & ~predicted)
    extra_x, extra_y, extra = deepest_point(predicted & ~truth)
    if missing == extra == 0.0:
        x, y, _ = deepest_point(truth if truth.any() else ~truth)
        return float(x), float(y), int(truth.any())
    if missing > extra:
        return float(missing_x), float(missing_y), 1
    return float(extra_x), float(extra_y), 0


def loose_box(mask: BoolMask, rng: np.random.Generator | None) -> tuple[float, float, float, float]:
    """Box (x0, y0, x1, y1) around a non-empty mask, each side moved by about 5 % of its length (<= 10 px)."""
    height, width = mask.shape
    ys, xs = np.nonzero(mask)
    box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], dtype=np.float64)
    if rng is not None:
        spread = 0.05 * np.array([box[2] - box[0], box[3] - box[1]] * 2)
        box += np.clip(rng.normal(0.0, spread), -10.0, 10.0)
    x0, x1 = np.sort(box[[0, 2]]).clip(0, width)
    y0, y1 = np.sort(box[[1, 3]]).clip(0, height)
    return float(x0), float(y0), float(x1), float(y1)


def _depths(region: BoolMask) -> NDArray[np.float32]:
    """The distance [px] from each pixel of a region [H, W] to the nearest one outside it or the image."""
    padded = np.pad(region.astype(np.uint8), 1)
    depths = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    # On some processors their last digits change from call to call; their squares are whole numbers.
    return np.sqrt(np.rint(np.square(depths))).astype(np.float32)
