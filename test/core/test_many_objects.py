"""Objects of a batch do not disturb each other, not even in the last digit, whatever their histories.

In float32 on one thread, at the size that the bundled model is made for; a released model in a slow test.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray
from random_weights import tracking_network
from scenario import EncodedOnce, clip

from sam2_core.backends import Backend
from sam2_core.tracking import PointPrompt, StreamingTracker, TrackerOptions

FRAMES = clip(12)
COUNT = 20
Found = dict[tuple[int, int], tuple[float, NDArray[np.float32]]]
"""Score and logits by frame and object."""


@pytest.fixture(scope="module")
def network() -> Backend:
    """Its objects come and go."""
    return EncodedOnce(tracking_network("sam2_pico", FRAMES, 256, "both signs", seed=5))


def prompts(one: int) -> dict[int, PointPrompt]:
    """Where an object is clicked, by frame: it starts on one of the first four; some are corrected later."""
    start, x, y = one % 4, 30 + 13 * one, 40 + 40 * (one % 5)
    given = {start: PointPrompt([[x, y]], [1])}
    if one % 3 == 0:
        given[start + 4] = PointPrompt([[x + 15, y + 10], [5, 5]], [1, 0])
    return given


def track(network: Backend, which: Iterable[int], frames: int = len(FRAMES)) -> Found:
    """Tracks some of the objects through the first frames of the clip."""
    tracker = StreamingTracker(network, TrackerOptions(max_objects=COUNT))
    ids: dict[int, int] = {}
    found: Found = {}
    for index, image in enumerate(FRAMES[:frames]):
        result = tracker.track(image, index)
        names = {object_id: one for one, object_id in ids.items()}
        found.update({(index, names[o.id]): (o.score, o.logits) for o in result.objects})
        for one in which:
            if index in prompts(one):
                answer = tracker.add_prompt(prompts(one)[index], ids.get(one))
                ids[one] = answer.id
                found[index, one] = answer.score, answer.logits
    return found


@pytest.fixture(scope="module")
def all_objects(network: Backend) -> Found:
    return track(network, range(COUNT))


def assert_bitwise_equal(found: Found, expected: Found) -> None:
    for key, (score, logits) in expected.items():
        assert found[key][0] == score, key
        np.testing.assert_array_equal(found[key][1], logits, err_msg=str(key))


def test_the_twentieth_object_changes_no_bit_of_the_others(network: Backend, all_objects: Found) -> None:
    without = track(network, range(COUNT - 1))
    assert_bitwise_equal(all_objects, without)
    visible = [score > 0 for score, _ in without.values()]
    assert 20 < sum(visible) < len(visible) - 20


@pytest.mark.parametrize("some", [(2,), (0, 7), (3, 5, 19)])
def test_an_object_has_the_same_bits_in_any_company(
    network: Backend, all_objects: Found, some: tuple[int, ...]
) -> None:
    assert_bitwise_equal(all_objects, track(network, some))


@pytest.mark.slow
def test_the_twentieth_object_changes_no_bit_of_the_others_in_a_released_model() -> None:
    network = EncodedOnce(tracking_network("sam2.1_hiera_tiny", FRAMES[:6], 512, "both signs"))
    assert_bitwise_equal(track(network, range(COUNT), 6), track(network, range(COUNT - 1), 6))
