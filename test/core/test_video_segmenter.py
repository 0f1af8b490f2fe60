"""What users of the video segmenter rely on, beyond the official numbers."""

from __future__ import annotations

from io import SEEK_END

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from random_weights import random_network

from sam2_core.model import ImageFeatures, Sam2Network
from sam2_core.tracking import (
    FrameRangeError,
    FrameResult,
    MaskPrompt,
    PointPrompt,
    PromptError,
    UnknownObjectError,
    VideoOptions,
    VideoSegmenter,
)

COUNT, SIZE = 24, 48
CLICK = PointPrompt([[24, 24]], [1])
BOX = PointPrompt(box=[10, 10, 30, 30])


class ArrayFrames:
    """A clip in memory: a square that moves over noise."""

    def __init__(self, count: int = COUNT) -> None:
        self._count = count
        self.read: list[int] = []

    def __len__(self) -> int:
        return self._count

    def image(self, index: int) -> NDArray[np.uint8]:
        self.read.append(index)
        image = np.random.default_rng(0).integers(0, 90, (SIZE, SIZE, 3)).astype(np.uint8)
        image[12:36, 8 + index % 16 : 28 + index % 16] = (220, 90, 40)
        return image

    def stamp(self, index: int) -> int:
        return index * 40_000_000


@pytest.fixture(scope="module")
def network() -> Sam2Network:
    # The smallest input: behaviour is the same, and a frame takes milliseconds.
    network = random_network("sam2_pico", 64)
    network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.add_(6.0)
    return network


@pytest.fixture
def segmenter(network: Sam2Network) -> VideoSegmenter:
    return VideoSegmenter(network, ArrayFrames())


def logits(result: FrameResult) -> dict[int, bytes]:
    return {one.id: one.logits.tobytes() for one in result.objects}


def propagate(segmenter: VideoSegmenter, *arguments: object) -> dict[int, dict[int, bytes]]:
    return {frame: logits(result) for frame, result in segmenter.propagate(*arguments)}  # type: ignore[arg-type]


def test_passes_go_the_way_they_are_asked_to(segmenter: VideoSegmenter) -> None:
    segmenter.add_prompt(10, CLICK)
    assert list(propagate(segmenter)) == list(range(10, COUNT))
    assert list(propagate(segmenter, None, None, True)) == list(range(10, -1, -1))
    assert list(propagate(segmenter, 12, 15)) == [12, 13, 14, 15]


def test_an_object_is_found_before_its_first_prompt_too(segmenter: VideoSegmenter) -> None:
    segmenter.add_prompt(0, BOX)
    segmenter.add_prompt(9, CLICK)
    for frame, result in segmenter.propagate(0):
        assert [one.id for one in result.objects] == [1, 2]
        assert result.stamp == frame * 40_000_000
        assert all(np.isfinite(one.logits).all() for one in result.objects)


def test_objects_do_not_disturb_each_other(network: Sam2Network) -> None:
    together = VideoSegmenter(network, ArrayFrames())
    together.add_prompt(3, CLICK, object_id=1)
    together.add_prompt(9, BOX, object_id=5)
    found = propagate(together, 0)
    for key, frame, prompt in ((1, 3, CLICK), (5, 9, BOX)):
        alone = VideoSegmenter(network, ArrayFrames())
        alone.add_prompt(frame, prompt, object_id=key)
        for index, expected in propagate(alone, 0).items():
            # Batches of unequal sizes are summed in unequal order.
            first, second = (np.frombuffer(one[key], np.float32) for one in (found[index], expected))
            np.testing.assert_allclose(first, second, atol=1e-3)


def test_only_the_asked_objects_are_tracked(segmenter: VideoSegmenter) -> None:
    segmenter.add_prompt(0, CLICK, object_id=1)
    segmenter.add_prompt(0, BOX, object_id=2)
    assert [set(found) for found in propagate(segmenter, 0, 3, False, [2]).values()] == [{2}] * 4


def test_a_correction_survives_the_passes_over_it(segmenter: VideoSegmenter) -> None:
    segmenter.add_prompt(0, CLICK)
    before = propagate(segmenter)
    corrected = segmenter.add_prompt(6, BOX, 1)
    conditioning = segmenter.add_prompt(0, PointPrompt([[40, 40]], [0]), 1, clear_previous=False)
    after = propagate(segmenter)
    assert after[6] == {1: corrected.logits.tobytes()} != before[6]
    assert after[0] == {1: conditioning.logits.tobytes()} != before[0]
    assert after[7] != before[7]
    assert segmenter.prompted_frames(1) == (0, 6)


def test_a_pass_over_the_same_frames_gives_the_same(segmenter: VideoSegmenter) -> None:
    segmenter.add_prompt(4, CLICK)
    first = propagate(segmenter, 4, 12)
    assert propagate(segmenter, 4, 12) == first


def test_memories_on_disk_are_as_good_as_in_memory(network: Sam2Network) -> None:
    def session(held: int) -> list[dict[int, dict[int, bytes]]]:
        segmenter = VideoSegmenter(network, ArrayFrames(), VideoOptions(held_memories=held))
        segmenter.add_prompt(2, CLICK)
        passes = [propagate(segmenter), propagate(segmenter, None, None, True)]
        segmenter.add_prompt(8, BOX, 1)
        return [*passes, propagate(segmenter, 9), propagate(segmenter, 20, 0, True)]

    assert session(held=1) == session(held=1000)


def test_memory_does_not_grow_with_the_video(network: Sam2Network) -> None:
    segmenter = VideoSegmenter(network, ArrayFrames(200), VideoOptions(held_memories=20, cached_frames=3))
    segmenter.add_prompt(0, CLICK)
    for _ in segmenter.propagate():
        pass
    (known,) = segmenter._objects.values()
    assert len(known.bank.recent) == 199
    assert len(known.bank.recent._held) == 20  # type: ignore[attr-defined]
    assert len(segmenter._cache) == 3


def test_the_temporary_file_does_not_grow_with_the_passes(network: Sam2Network) -> None:
    segmenter = VideoSegmenter(network, ArrayFrames(), VideoOptions(held_memories=1))
    segmenter.add_prompt(COUNT // 2, CLICK)
    (known,) = segmenter._objects.values()
    sizes = []
    for _ in range(3):
        propagate(segmenter)
        propagate(segmenter, None, None, True)
        sizes.append(known.bank.recent._file.seek(0, SEEK_END))  # type: ignore[attr-defined]
    # Which of the frames is held, and so not in the file, settles in the second round.
    assert 0 < sizes[1] == sizes[2]


def test_recently_touched_frames_are_neither_read_nor_encoded_again(network: Sam2Network) -> None:
    class Counting(Sam2Network):
        encoded = 0

        def encode_image(self, pixels: torch.Tensor) -> ImageFeatures:
            Counting.encoded += 1
            return super().encode_image(pixels)

    backend = Counting(network.config).eval().requires_grad_(False)
    backend.load_state_dict(network.state_dict())
    frames = ArrayFrames()
    segmenter = VideoSegmenter(backend, frames, VideoOptions(cached_frames=4))
    for frame in (0, 1, 0, 2, 1, 0):
        segmenter.add_prompt(frame, CLICK, 1)
    assert frames.read == [0, 1, 2]
    assert Counting.encoded == 3


def test_a_session_goes_on_from_its_memories(network: Sam2Network) -> None:
    def begin() -> VideoSegmenter:
        segmenter = VideoSegmenter(network, ArrayFrames())
        segmenter.add_prompt(3, CLICK)
        return segmenter

    whole = begin()
    expected = propagate(whole)
    second = begin()
    second.restore(whole.memories(second.read_behind(18)))
    assert propagate(second, 18) == {frame: expected[frame] for frame in range(18, COUNT)}


def test_what_no_pass_reads_any_more_can_be_forgotten(network: Sam2Network) -> None:
    whole, spare = (VideoSegmenter(network, ArrayFrames()) for _ in range(2))
    for one in (whole, spare):
        one.add_prompt(0, CLICK)
        propagate(one, 0, 17)
        corrected = one.add_prompt(1, PointPrompt([[30, 30]], [1]), object_id=1)
    spare.forget_except(spare.read_behind(18))
    tracked = {memory.frame for memory in spare.memories(range(COUNT))[1]} - {1}
    assert tracked == set(range(3, 18))
    assert propagate(spare, 1, 1)[1][1] == corrected.logits.tobytes()
    assert propagate(spare, 18) == propagate(whole, 18)


def test_many_prompted_frames_are_read_up_to_the_cap(network: Sam2Network) -> None:
    def session(cap: int, prompted: int) -> dict[int, dict[int, bytes]]:
        segmenter = VideoSegmenter(network, ArrayFrames(), VideoOptions(max_conditioning_frames=cap))
        for frame in range(0, 2 * prompted, 2):
            segmenter.add_prompt(frame, CLICK, 1)
        return propagate(segmenter)

    assert session(cap=3, prompted=3) == session(cap=16, prompted=3)
    assert session(cap=2, prompted=4) != session(cap=16, prompted=4)


def test_removed_objects_are_gone_and_their_ids_with_them(segmenter: VideoSegmenter) -> None:
    segmenter.add_prompt(0, CLICK, label="cup")
    segmenter.add_prompt(0, BOX)
    passing = segmenter.propagate(0)
    next(passing)
    segmenter.remove_object(1)
    assert [one.id for one in segmenter.objects] == [2]
    assert set(logits(next(segmenter.propagate(1))[1])) == {2}
    with pytest.raises(UnknownObjectError, match="object id 1 cannot be added: it was removed"):
        segmenter.add_prompt(0, CLICK, 1)
    assert segmenter.add_prompt(0, CLICK).id == 3
    segmenter.reset()
    assert segmenter.add_prompt(0, CLICK).id == 1


def test_what_cannot_be_is_named_and_changes_nothing(segmenter: VideoSegmenter) -> None:
    with pytest.raises(FrameRangeError, match="no object to propagate"):
        segmenter.propagate()
    segmenter.add_prompt(0, CLICK, label="cup")
    before = segmenter.objects
    with pytest.raises(FrameRangeError, match="frame 24 is not in the video; allowed: 0 to 23"):
        segmenter.add_prompt(24, CLICK)
    with pytest.raises(FrameRangeError, match="frame -1 is not in the video"):
        segmenter.propagate(-1)
    with pytest.raises(PromptError, match=r"point \(99, 1\); allowed: 0 <= x <= 48"):
        segmenter.add_prompt(0, PointPrompt([[99, 1]], [1]))
    with pytest.raises(PromptError, match="allowed: the frame's size, 48 x 48"):
        segmenter.add_prompt(0, MaskPrompt(np.ones((4, 4), bool)), 1)
    with pytest.raises(PromptError, match="a box cannot follow earlier points"):
        segmenter.add_prompt(0, BOX, 1, clear_previous=False)
    with pytest.raises(UnknownObjectError, match="object id 9 is unknown; allowed: 1"):
        segmenter.remove_object(9)
    with pytest.raises(UnknownObjectError, match="object id 0 cannot be added: allowed: 1 or more"):
        segmenter.add_prompt(0, CLICK, 0)
    assert segmenter.objects == before


def test_each_option_has_its_range() -> None:
    for name in ("max_conditioning_frames", "cached_frames", "held_memories"):
        with pytest.raises(ValueError, match=f"{name} is 0; allowed: 1 or more"):
            VideoOptions(**{name: 0})
