"""What a GPU makes of mask logits is what the host would have made of them; here on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sam2_core.masks import tight_box
from sam2_core.tracking.answers import masks_of, packed_results
from sam2_core.tracking.results import TrackedObject, upscale_logits, upscale_mask
from sam2_core.transfer import download, join_bytes, split_bytes, upload

SIZES = [(480, 640), (97, 131), (40, 30), (64, 64)]
SIDE = 64
ROUNDING = 1e-3
"""Logits of deviation 5 that OpenCV and torch stretch differ by less."""


def smooth_logits(count: int) -> NDArray[np.float32]:
    """float32 `[count, SIDE, SIDE]`: blobs, such as the decoder's; the last object is not there."""
    noise = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    logits = 5 * torch.nn.functional.interpolate(noise, size=(SIDE, SIDE), mode="bicubic")[:, 0]
    logits[-1] = -1024.0
    return logits.numpy()


@pytest.mark.parametrize("size", SIZES)
def test_masks_are_those_of_the_host(size: tuple[int, int]) -> None:
    logits = smooth_logits(3)
    for found, one in zip(masks_of(torch.from_numpy(logits), size).numpy(), logits, strict=True):
        decided = np.abs(upscale_logits(one, size)) > ROUNDING
        assert decided.mean() > 0.99
        np.testing.assert_array_equal(found[decided], upscale_mask(one, size)[decided])


@pytest.mark.parametrize("size", SIZES)
def test_packed_results_say_what_results_say(size: tuple[int, int]) -> None:
    logits = torch.from_numpy(smooth_logits(3))
    identities = [TrackedObject(index, str(index), 0) for index in (1, 4, 5)]
    scores, ious = torch.tensor([2.5, 0.5, -3.0]), torch.tensor([0.9, 0.7, 0.1])
    results = packed_results(identities, size, logits, scores, ious)
    assert [(one.id, one.label, one.size) for one in results] == [
        (1, "1", size),
        (4, "4", size),
        (5, "5", size),
    ]
    assert [one.visible for one in results] == [True, True, False]
    np.testing.assert_allclose([one.iou for one in results], ious)
    for one, mask, low in zip(results, masks_of(logits, size).numpy(), logits.numpy(), strict=True):
        assert one.mask.dtype == np.bool_
        np.testing.assert_array_equal(one.mask, mask)
        np.testing.assert_array_equal(one.logits, low)
        assert one.box == tight_box(mask)
    assert all(one.box for one in results[:2])
    assert results[2].box is None


def test_what_is_transferred_together_comes_back_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = [
        torch.randn(3, 5, 7, generator=generator),
        torch.randn(3, generator=generator),
        torch.arange(9, dtype=torch.uint8).reshape(3, 3),
        torch.arange(12, dtype=torch.int32).reshape(3, 4),
        torch.tensor([[True, False, True]] * 3),
    ]
    for arrays in (split_bytes(join_bytes(tensors).numpy(), tensors), download(tensors)):
        for array, tensor in zip(arrays, tensors, strict=True):
            assert array.dtype == tensor.numpy().dtype
            np.testing.assert_array_equal(array, tensor.numpy())


def test_an_uploaded_array_is_its_tensor() -> None:
    values = np.arange(6, dtype=np.int64).reshape(2, 3)
    np.testing.assert_array_equal(upload(values, torch.device("cpu")).numpy(), values)
