"""COCO run lengths against pycocotools, in both directions, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from sam2_core.masks import decode_rle, encode_rle, tight_box

sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
noise = sizes.flatmap(lambda size: arrays(bool, size))


@st.composite
def blobs(draw: st.DrawFn) -> NDArray[np.bool_]:
    """Masks with long runs, as objects have: a few rectangles, added or cut out, up to 300x300."""
    height, width = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    mask = np.zeros((height, width), bool)
    for _ in range(draw(st.integers(0, 5))):
        y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        mask[y : y + draw(st.integers(1, 300)), x : x + draw(st.integers(1, 300))] ^= True
    return mask


def coco_counts(mask: NDArray[np.bool_]) -> str:
    return coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"].decode("ascii")


@given(mask=noise | blobs())
def test_the_code_is_the_one_of_pycocotools(mask: NDArray[np.bool_]) -> None:
    counts = encode_rle(mask)
    assert counts == coco_counts(mask)
    decoded = coco.decode({"size": list(mask.shape), "counts": counts})
    assert np.array_equal(decoded.astype(bool), mask)


@given(mask=noise | blobs())
def test_codes_of_pycocotools_are_decoded(mask: NDArray[np.bool_]) -> None:
    decoded = decode_rle(coco_counts(mask), *mask.shape)
    assert decoded.dtype == bool
    assert np.array_equal(decoded, mask)
    assert np.array_equal(decode_rle(coco_counts(mask).encode(), *mask.shape), mask)


@pytest.mark.parametrize("value", [False, True])
def test_a_large_uniform_mask(value: bool) -> None:
    mask = np.full((2160, 3840), value)
    assert encode_rle(mask) == coco_counts(mask)
    assert np.array_equal(decode_rle(encode_rle(mask), 2160, 3840), mask)


def test_a_transposed_view_is_encoded_like_its_copy() -> None:
    mask = np.random.default_rng(0).random((31, 47)) > 0.5
    assert encode_rle(mask.T) == coco_counts(mask.T)


@given(text=st.text(max_size=20) | st.binary(max_size=20))
def test_a_wrong_code_is_refused_or_fills_the_image(text: str | bytes) -> None:
    try:
        mask = decode_rle(text, 5, 7)
    except ValueError:
        return
    assert mask.shape == (5, 7)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [("", "'0' to 'o'"), ("~", "'0' to 'o'"), ("S", "truncated"), ("5", "covers 5 pixels")],
)
def test_the_refusal_says_why(counts: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_rle(counts, 5, 7)


@given(mask=noise | blobs())
def test_the_box_is_tight(mask: NDArray[np.bool_]) -> None:
    box = tight_box(mask)
    if box is None:
        assert not mask.any()
        return
    x0, y0, x1, y1 = box
    inside = mask[y0:y1, x0:x1]
    assert inside.sum() == mask.sum()
    assert inside[0].any()
    assert inside[-1].any()
    assert inside[:, 0].any()
    assert inside[:, -1].any()
