"""Automatic masks against the official generator, with the same weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import official
import pytest
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco
from random_weights import random_network

from sam2_core.automatic import AutomaticMaskGenerator, AutomaticOptions
from sam2_core.automatic.filters import boxes_of, remove_small_regions, stability, suppress
from sam2_core.automatic.grid import plan
from sam2_core.model import Sam2Network

SIZE = 256
IMAGE_SIZE = (270, 360)


def torchvision_nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """What `torchvision.ops.nms` computes, pair by pair; its compiled operator is of another torch."""
    order = scores.argsort(descending=True, stable=True).tolist()
    kept: list[int] = []
    for i in order:
        for j in kept:
            low = torch.maximum(boxes[i, :2], boxes[j, :2])
            high = torch.minimum(boxes[i, 2:], boxes[j, 2:])
            common = (high - low).clamp(min=0).prod()
            areas = (boxes[[i, j], 2:] - boxes[[i, j], :2]).prod(dim=1).sum()
            if common / (areas - common) > threshold:
                break
        else:
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64)


def batched_nms(
    boxes: torch.Tensor, scores: torch.Tensor, categories: torch.Tensor, iou_threshold: float
) -> torch.Tensor:
    """`torchvision.ops.batched_nms` of boxes that are all of one category."""
    assert not categories.any()
    return torchvision_nms(boxes, scores, iou_threshold)


@pytest.fixture(scope="module")
def official_amg() -> Any:
    """The official package, with the one operator of torchvision that it calls."""
    official.declare_torchvision_operators()
    import sam2.automatic_mask_generator
    import sam2.utils.amg

    sam2.automatic_mask_generator.batched_nms = batched_nms
    return sam2


@pytest.fixture(scope="module")
def network() -> Sam2Network:
    network = random_network("sam2.1_hiera_tiny", SIZE)
    for mlp in network.sam_mask_decoder.output_hypernetworks_mlps:
        mlp.layers[-1].weight *= 20.0  # logits of the size that they have after training
    return network


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    """A few discs on a gradient: uint8 `[H, W, 3]`."""
    height, width = IMAGE_SIZE
    y, x = np.mgrid[:height, :width]
    picture = np.stack([x, y, x + y], axis=2) % 256
    for cx, cy, radius, colour in ((90, 70, 45, 250), (250, 160, 70, 60), (110, 210, 35, 160)):
        picture[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = (colour, 255 - colour, colour // 2)
    return picture.astype(np.uint8)


def generate_both(
    sam2: Any, network: Sam2Network, image: NDArray[np.uint8], options: AutomaticOptions, form: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The records of both generators, in the same order."""
    theirs = sam2.automatic_mask_generator.SAM2AutomaticMaskGenerator(
        official.twin(network, video=False),
        points_per_side=options.points_per_side,
        points_per_batch=options.points_per_batch,
        pred_iou_thresh=options.predicted_iou,
        stability_score_thresh=options.stability,
        stability_score_offset=options.stability_offset,
        mask_threshold=options.mask_threshold,
        box_nms_thresh=options.box_nms,
        crop_n_layers=options.crop_layers,
        crop_nms_thresh=options.crop_nms,
        crop_n_points_downscale_factor=options.crop_points_divisor,
        multimask_output=options.multimask,
        output_mode=form,
    )
    side = network.config.embedding_size
    # Written for 1024 px.
    theirs.predictor._bb_feat_sizes = [(4 * side, 4 * side), (2 * side, 2 * side), (side, side)]
    ours = [one.record(form) for one in AutomaticMaskGenerator(network, options).generate(image)]
    return in_order(ours), in_order(theirs.generate(image))


def in_order(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(
        records,
        key=lambda one: (
            one["crop_box"],
            [round(value, 2) for value in one["point_coords"][0]],
            round(one["predicted_iou"], 3),
        ),
    )


# Random weights paint noise: only its peaks, far above 0, make masks that differ in size and place.
@pytest.mark.parametrize(
    "options",
    [
        AutomaticOptions(
            points_per_side=8, predicted_iou=0.5, stability=0.02, mask_threshold=8.0, box_nms=1.0
        ),
        AutomaticOptions(
            points_per_side=6,
            points_per_batch=10,
            predicted_iou=0.45,
            stability=0.02,
            stability_offset=0.7,
            mask_threshold=8.0,
            crop_layers=1,
            crop_nms=0.4,
        ),
        AutomaticOptions(
            points_per_side=5,
            predicted_iou=0.0,
            stability=0.01,
            mask_threshold=8.0,
            box_nms=1.0,
            multimask=False,
        ),
    ],
    ids=["grid", "crops", "single"],
)
def test_the_same_records(
    official_amg: Any, network: Sam2Network, image: NDArray[np.uint8], options: AutomaticOptions
) -> None:
    ours, theirs = generate_both(official_amg, network, image, options, "coco_rle")
    assert len(ours) == len(theirs) >= 4
    assert len({tuple(one["crop_box"]) for one in ours}) > options.crop_layers
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        assert one["crop_box"] == other["crop_box"]
        assert one["point_coords"][0] == pytest.approx(other["point_coords"][0], rel=1e-5)
        assert one["predicted_iou"] == pytest.approx(other["predicted_iou"], abs=1e-4)
        assert one["stability_score"] == pytest.approx(other["stability_score"], abs=1e-3)
        assert one["bbox"] == other["bbox"]
        # A pixel whose logit is within rounding of the threshold may fall on either side.
        differing = coco.decode(one["segmentation"]) != coco.decode(other["segmentation"])
        assert differing.sum() <= 1
        assert abs(one["area"] - other["area"]) <= 1


def test_every_form_holds_the_same_mask(network: Sam2Network, image: NDArray[np.uint8]) -> None:
    options = AutomaticOptions(points_per_side=2, predicted_iou=0.0, stability=0.0, box_nms=1.0)
    found = AutomaticMaskGenerator(network, options).generate(image)
    assert len(found) == 12
    for one in found:
        binary, runs, text = (
            one.record(form)["segmentation"] for form in ("binary_mask", "uncompressed_rle", "coco_rle")
        )
        assert binary.shape == IMAGE_SIZE
        assert one.area == binary.sum()
        assert np.array_equal(coco.decode(text), binary)
        assert np.array_equal(coco.decode(coco.frPyObjects(runs, *IMAGE_SIZE)), binary)
    with pytest.raises(ValueError, match="form 'polygon'"):
        found[0].record("polygon")  # type: ignore[arg-type]


def test_small_regions_and_small_masks_go(
    official_amg: Any, network: Sam2Network, image: NDArray[np.uint8]
) -> None:
    plain = AutomaticOptions(
        points_per_side=4, predicted_iou=0.0, stability=0.0, mask_threshold=3.0, box_nms=1.0
    )
    generate = official_amg.automatic_mask_generator.SAM2AutomaticMaskGenerator.postprocess_small_regions
    before = AutomaticMaskGenerator(network, plain).generate(image)
    data = official_amg.utils.amg.MaskData(
        rles=[one.record("uncompressed_rle")["segmentation"] for one in before],
        boxes=torch.tensor([one.box for one in before]),
        number=torch.arange(len(before)),
    )
    expected = generate(data, 30, 1.0)
    areas = sorted(sum(rle["counts"][1::2]) for rle in expected["rles"])
    cleaned = AutomaticMaskGenerator(network, with_cleaning(plain, 30, 0)).generate(image)
    assert sorted(one.area for one in cleaned) == areas != sorted(one.area for one in before)
    assert sorted(one.box for one in cleaned) == sorted(map(tuple, expected["boxes"].tolist()))
    least = areas[len(areas) // 2]
    large = AutomaticMaskGenerator(network, with_cleaning(plain, 30, least)).generate(image)
    assert sorted(one.area for one in large) == [area for area in areas if area >= least]


def with_cleaning(options: AutomaticOptions, region: int, area: int) -> AutomaticOptions:
    return replace(options, min_region_area=region, min_area=area)


def test_crops_and_points_are_the_official_ones(official_amg: Any) -> None:
    amg = official_amg.utils.amg
    for size in ((480, 640), (333, 201)):
        options = AutomaticOptions(points_per_side=9, crop_layers=2, crop_points_divisor=2)
        boxes, layers = amg.generate_crop_boxes(size, 2, options.crop_overlap)
        grids = amg.build_all_layer_point_grids(9, 2, 2)
        crops = plan(size, options)
        assert [list(crop.box) for crop in crops] == boxes
        for crop, layer in zip(crops, layers, strict=True):
            expected = grids[layer] * np.array(crop.size)[None, ::-1]
            np.testing.assert_allclose(crop.points, expected, rtol=1e-6)


def test_filters_are_the_official_ones(official_amg: Any) -> None:
    amg = official_amg.utils.amg
    generator = torch.Generator().manual_seed(1)
    corners = torch.rand(300, 2, 2, generator=generator) * 100
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    boxes[::50] = 0.0  # of empty masks
    scores = torch.rand(300, generator=generator).round(decimals=1)  # with ties
    kept = suppress(boxes.numpy(), scores.numpy(), 0.3)
    assert kept == torchvision_nms(boxes, scores, 0.3).tolist()
    assert 10 < len(kept) < 300
    assert suppress(boxes[:0].numpy(), scores[:0].numpy(), 0.3) == []

    logits = torch.randn(20, 30, 40, generator=generator) * torch.linspace(0.1, 4, 20)[:, None, None] + 0.5
    torch.testing.assert_close(stability(logits, 0.2, 0.4), amg.calculate_stability_score(logits, 0.2, 0.4))
    masks = logits > 2.4
    assert not masks[0].any()
    assert torch.equal(boxes_of(masks), amg.batched_mask_to_box(masks))

    blobs = cv2.GaussianBlur(np.random.default_rng(2).normal(size=(120, 90)), (0, 0), 2) > 0.02
    for area in (1, 12, 60, 10**6):
        filled, _ = amg.remove_small_regions(blobs, area, "holes")
        expected, _ = amg.remove_small_regions(filled, area, "islands")
        assert np.array_equal(remove_small_regions(blobs, area), expected)


def test_the_progress_bar_counts_every_point(
    network: Sam2Network, image: NDArray[np.uint8], capsys: pytest.CaptureFixture[str]
) -> None:
    options = AutomaticOptions(points_per_side=2, crop_layers=1)
    generator = AutomaticMaskGenerator(network, options)
    generator.generate(image)
    assert not capsys.readouterr().err
    generator.generate(image, progress=True)
    assert "20/20" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [("points_per_side", 0), ("predicted_iou", 1.5), ("box_nms", float("nan")), ("crop_layers", -1)],
)
def test_options_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is .*allowed"):
        AutomaticOptions(**{name: value})  # type: ignore[arg-type]
