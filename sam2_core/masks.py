"""Binary masks as COCO compressed run lengths, and their boxes, in numpy alone.

The format is COCO's (the `counts` string of `pycocotools.mask`). The mask is read column by column, top
to bottom; its run lengths alternate background, object, background, ... and always begin with the
background, of length 0 where the first pixel is the object. From the fourth on, a run is written as its
difference to the run two before. Each number is a little-endian sequence of 5-bit groups in two's
complement, one character a group: the value of the group, plus 32 where another group follows, plus 48.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in pixels, x1 and y1 just outside."""

_GROUP_BITS = 5
_VALUE = 0x1F  # the bits of a character that carry the number
_SIGN = 0x10  # in the last group: the number is negative
_MORE = 0x20  # another group follows
_OFFSET = 48  # brings every character into the printable range "0" to "o"
_MAX_GROUPS = 7  # differences of run lengths below 2^34; an image has fewer pixels


def encode_rle(mask: NDArray[np.bool_]) -> str:
    """The COCO `counts` string of a mask.

    mask: bool [H, W]. The same string, byte for byte, as `pycocotools.mask.encode` gives.
    """
    return compress_runs(run_lengths(mask))


def compress_runs(runs: NDArray[np.int64]) -> str:
    """The COCO `counts` string of run lengths, int64 [R]."""
    runs = runs.copy()
    runs[3:] -= runs[1:-2].copy()
    # ~x for a negative x needs the same number of bits beside the sign.
    magnitude = np.where(runs < 0, ~runs, runs)
    thresholds = 1 << (_GROUP_BITS * np.arange(1, _MAX_GROUPS) - 1)
    groups = 1 + np.searchsorted(thresholds, magnitude, side="right")

    position = np.arange(groups.max())
    characters = (runs[:, None] >> (_GROUP_BITS * position)) & _VALUE
    characters |= np.where(position < groups[:, None] - 1, _MORE, 0)
    characters += _OFFSET
    return characters[position < groups[:, None]].astype(np.uint8).tobytes().decode("ascii")


def decode_rle(counts: str | bytes, height: int, width: int) -> NDArray[np.bool_]:
    """The mask of a COCO `counts` string: bool [height, width].

    Raises ValueError where the string is not such a code or its runs do not fill the image exactly.
    """
    text = counts.encode("ascii") if isinstance(counts, str) else counts
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - _OFFSET
    if codes.size == 0 or codes.min() < 0 or codes.max() >= 2 * _MORE:
        raise ValueError("counts is not a COCO run-length string: a character from '0' to 'o' is expected")
    last = (codes & _MORE) == 0
    if not last[-1]:
        raise ValueError("counts is truncated: its last number has no last character")

    ends = np.flatnonzero(last)
    starts = np.concatenate(([0], ends[:-1] + 1))
    groups = ends - starts + 1
    if groups.max() > _MAX_GROUPS:
        raise ValueError(
            f"counts holds a number of {groups.max()} characters, at most {_MAX_GROUPS} are allowed"
        )
    shifts = _GROUP_BITS * (np.arange(codes.size) - np.repeat(starts, groups))
    runs = np.add.reduceat((codes & _VALUE) << shifts, starts)
    runs -= np.where(codes[ends] & _SIGN, 1 << (_GROUP_BITS * groups), 0)
    # Undo the differences: the object's runs from the first on, the background's from the second on.
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])

    if runs.min() < 0 or runs.sum() != height * width:
        raise ValueError(
            f"counts covers {runs.sum()} pixels, an image of {width}x{height} has {height * width}"
        )
    return mask_of_runs(runs, height, width)


def mask_of_runs(runs: NDArray[np.int64], height: int, width: int) -> NDArray[np.bool_]:
    """The mask, bool [height, width], of run lengths, int64 [R], that fill it exactly."""
    columns = np.repeat(np.arange(runs.size) % 2 == 1, runs).reshape(width, height)
    return np.ascontiguousarray(columns.T)


def tight_box(mask: NDArray[np.bool_]) -> Box | None:
    """The smallest box around a mask; None if empty.

    mask: bool [H, W].
    """
    columns = np.flatnonzero(mask.any(axis=0))
    if columns.size == 0:
        return None
    rows = np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def run_lengths(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Run lengths, int64 [R], of a mask bool [H, W] in column-major order, the first of them background."""
    height, width = mask.shape
    if mask.size == 0:
        return np.zeros(1, np.int64)
    # Where a pixel differs from the one before it in column-major order. Compared row by row, which is
    # contiguous, and put into column-major order afterwards, when only the few changes are left.
    changed = np.empty((height, width), bool)
    np.not_equal(mask[1:], mask[:-1], out=changed[1:])
    np.not_equal(mask[0, 1:], mask[-1, :-1], out=changed[0, 1:])
    changed[0, 0] = mask[0, 0]
    rows, columns = np.divmod(np.flatnonzero(changed), width)
    starts = np.sort(columns * height + rows)
    return np.diff(starts, prepend=0, append=mask.size)
