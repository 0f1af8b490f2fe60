"""The automatic mask generator: a grid of prompts, and filters for what they find."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ..backends import ImageBackend
from ..masks import run_lengths
from ..model import DecodedMasks
from ..tracking import EncodedImage, ImageSegmenter, TrackerOptions
from ..tracking.results import as_prompt
from ..tracking.selection import choose_masks
from .filters import boxes_of, cut_off, remove_small_regions, stability, suppress
from .grid import Crop, plan
from .options import AutomaticOptions
from .records import AutomaticMask

Search = Generator[tuple[int, int], None, list[AutomaticMask]]

_PIXELS_AT_ONCE = 2**25
"""Mask logits stretched to the image's size at a time: 128 MiB."""


@dataclass(frozen=True, eq=False)
class _Candidates:
    """N masks of one crop that the network thinks well of."""

    logits: Tensor
    """`[N, 4s, 4s]`."""
    iou: Tensor
    """`[N]`, predicted."""
    score: Tensor
    """`[N]`, object score."""
    points: Tensor
    """`[N, 2]`, the grid points that they come from [px of the crop]; on the CPU."""

    def __getitem__(self, rows: slice) -> _Candidates:
        return _Candidates(self.logits[rows], self.iou[rows], self.score[rows], self.points[rows])


@dataclass
class Tally:
    """How good the candidates of one search were; tells why nothing was found."""

    candidates: int = 0
    iou: float = 0.0
    """The highest predicted IoU."""
    stability: float = 0.0
    """The highest stability, at the network's own resolution."""
    found: int = 0
    """The masks that are left in the end."""

    def add(self, logits: Tensor, iou: Tensor, options: AutomaticOptions) -> None:
        """Counts candidates in: logits `[P, M, 4s, 4s]`, predicted IoU `[P, M]`."""
        stable = stability(logits.flatten(0, 1), options.mask_threshold, options.stability_offset)
        self.candidates += iou.numel()
        self.iou = max(self.iou, iou.max().item())
        self.stability = max(self.stability, stable.max().item())

    def explain(self, options: AutomaticOptions) -> str:
        """Why nothing passed."""
        return (
            f"none of {self.candidates} candidates passed: they reach a predicted IoU of {self.iou:.2f} "
            f"(predicted_iou is {options.predicted_iou:g}) and a stability of {self.stability:.2f} "
            f"(stability is {options.stability:g}); with these lower, and min_area ({options.min_area}), "
            "more pass"
        )


class AutomaticMaskGenerator:
    """Finds everything on an image, as the official `SAM2AutomaticMaskGenerator` does.

    Args:
        backend: executes the network, for example `sam2_core.model.load_image_network()`.
        options: what may be tuned.
    """

    def __init__(self, backend: ImageBackend, options: AutomaticOptions = AutomaticOptions()) -> None:
        self.options = options
        self.tally = Tally()
        """Of the newest search."""
        self._backend = backend
        self._segmenter = ImageSegmenter(backend)

    @torch.inference_mode()
    def generate(
        self, image: NDArray[np.uint8], encoded: EncodedImage | None = None, progress: bool = False
    ) -> list[AutomaticMask]:
        """Finds masks on an image.

        Args:
            image: uint8 `[H, W, 3]`, RGB.
            encoded: the same image, where it has been encoded before.
            progress: whether to show a progress bar on stderr.

        Returns:
            The masks, best predicted IoU first.

        Raises:
            ValueError: the image is of another type or shape.
        """
        with tqdm(desc="finding masks", unit="point", disable=not progress) as bar:
            steps = self.steps(image, encoded)
            while True:
                try:
                    done, bar.total = next(steps)
                except StopIteration as end:
                    found: list[AutomaticMask] = end.value
                    return found
                bar.update(done - bar.n)

    @torch.inference_mode()
    def steps(self, image: NDArray[np.uint8], encoded: EncodedImage | None = None) -> Search:
        """`generate` in steps, between which others may use the network: for as long as it goes on it yields
        how many points are done, and of how many; then it returns the masks.
        """
        self.tally = Tally()
        encoded = encoded or self._segmenter.encode([image])[0]
        crops = plan(encoded.size, self.options)
        total = sum(len(crop.points) for crop in crops)
        done = 0
        found: list[AutomaticMask] = []
        for crop in crops:
            x0, y0, x1, y1 = crop.box
            part = encoded if crop is crops[0] else self._segmenter.encode([image[y0:y1, x0:x1]])[0]
            of_crop: list[AutomaticMask] = []
            for points in _batches(crop.points, self.options.points_per_batch):
                of_crop += self._search(points, crop, part, encoded.size)
                done += len(points)
                yield done, total
            qualities = [one.predicted_iou for one in of_crop]
            found += _without_duplicates(of_crop, qualities, self.options.box_nms)
        if len(crops) > 1:
            smallness = [1 / ((one.crop[2] - one.crop[0]) * (one.crop[3] - one.crop[1])) for one in found]
            found = _without_duplicates(found, smallness, self.options.crop_nms)
        if self.options.min_region_area:
            found = self._without_small_regions(found)
        found = [one for one in found if one.area >= self.options.min_area]
        self.tally.found = len(found)
        return sorted(found, key=lambda one: -one.predicted_iou)

    def _search(
        self, points: NDArray[np.float32], crop: Crop, encoded: EncodedImage, size: tuple[int, int]
    ) -> list[AutomaticMask]:
        """The masks at some points of a crop of an image of `size` (H, W)."""
        logits, iou, score = self._decode(points, encoded)
        self.tally.add(logits, iou, self.options)
        good = iou > self.options.predicted_iou
        origin = good.nonzero()[:, 0]
        origins = torch.from_numpy(points)[origin.cpu()]
        candidates = _Candidates(logits[good], iou[good], score[origin], origins)
        chunk = max(1, _PIXELS_AT_ONCE // (crop.size[0] * crop.size[1]))
        return [
            one
            for first in range(0, len(origin), chunk)
            for one in self._filtered(candidates[first : first + chunk], crop, size)
        ]

    def _decode(self, points: NDArray[np.float32], encoded: EncodedImage) -> tuple[Tensor, Tensor, Tensor]:
        """One click per point `[P, 2]` [px]: mask logits `[P, M, 4s, 4s]`, predicted IoU `[P, M]`, object
        score `[P]`.
        """
        backend, features = self._backend, encoded.features.to(self._backend.device)
        extent = torch.tensor([encoded.size[1], encoded.size[0]])
        clicks = (torch.from_numpy(points) / extent * backend.config.image_size)[:, None].to(backend.device)
        labels = torch.ones(len(points), 1, dtype=torch.int64, device=backend.device)
        embedding = backend.without_memory(features.embedding)

        def look(shown: Tensor | None) -> DecodedMasks:
            prompts = backend.encode_prompts(clicks, labels, shown)
            return backend.decode_masks(embedding, features.skip4, features.skip8, prompts)

        decoded = look(None)
        if self.options.multimask:
            return decoded.logits[:, 1:].float(), decoded.iou[:, 1:].float(), decoded.score
        chosen = choose_masks(decoded, False, backend.config, TrackerOptions())
        if backend.config.second_look:
            decoded = look(as_prompt(chosen.logits))
            chosen = choose_masks(decoded, False, backend.config, TrackerOptions())
        return chosen.logits.float(), chosen.iou[:, None].float(), decoded.score

    def _filtered(
        self, candidates: _Candidates, crop: Crop, size: tuple[int, int]
    ) -> Iterator[AutomaticMask]:
        """Those candidates that are stable and not cut off by the crop, in pixels of an image of (H, W)."""
        options = self.options
        logits = candidates.logits[:, None]
        full = F.interpolate(logits, size=crop.size, mode="bilinear", align_corners=False)[:, 0]
        stable = stability(full, options.mask_threshold, options.stability_offset)
        masks = full > options.mask_threshold
        boxes = boxes_of(masks)
        keep = (stable >= options.stability) & ~cut_off(boxes, crop.box, size)
        x0, y0, x1, y1 = crop.box
        for i in keep.nonzero().flatten().tolist():
            mask = np.zeros(size, bool)
            mask[y0:y1, x0:x1] = masks[i].cpu().numpy()
            left, top, right, bottom = boxes[i].tolist()
            x, y = candidates.points[i].tolist()
            yield AutomaticMask(
                run_lengths(mask),
                size,
                (left + x0, top + y0, right + x0, bottom + y0),
                candidates.iou[i].item(),
                stable[i].item(),
                candidates.score[i].item(),
                (x + x0, y + y0),
                crop.box,
            )

    def _without_small_regions(self, found: Sequence[AutomaticMask]) -> list[AutomaticMask]:
        """Cleans the masks; what became a duplicate by that goes, rather than what needed no cleaning."""
        cleaned, untouched = [], []
        for one in found:
            mask = one.mask
            clean = remove_small_regions(mask, self.options.min_region_area)
            untouched.append(float(clean is mask))
            if clean is not mask:
                box = boxes_of(torch.from_numpy(clean)[None])[0].tolist()
                one = replace(one, runs=run_lengths(clean), box=tuple(box))
            cleaned.append(one)
        return _without_duplicates(cleaned, untouched, max(self.options.box_nms, self.options.crop_nms))


def _batches(points: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    """Points `[P, 2]`, so many at a time."""
    for first in range(0, len(points), size):
        yield points[first : first + size]


def _without_duplicates(
    found: Sequence[AutomaticMask], scores: Sequence[float], threshold: float
) -> list[AutomaticMask]:
    """Drops masks whose box overlaps that of a mask of higher score by more than an IoU."""
    boxes = np.array([one.box for one in found], np.float32).reshape(-1, 4)
    return [found[i] for i in suppress(boxes, np.array(scores, np.float32), threshold)]
