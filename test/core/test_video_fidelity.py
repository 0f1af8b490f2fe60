"""The video segmenter gives the official predictor's numbers, whatever the order of prompts and passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import official
import pytest
import scenario
import torch
from numpy.typing import NDArray
from random_weights import tracking_network
from scenario import EncodedOnce, Given, Step, Track

from sam2_core.tracking import MaskPrompt, PointPrompt, Prompt, VideoOptions, VideoSegmenter

SIZE = 256
FRAMES = scenario.clip(12)
CLICK = PointPrompt([[160, 120]], [1])
BOX = PointPrompt(box=[40, 50, 150, 200])
# Its mask has no pixel so close to the edge that rounding decides: a prompted mask is remembered as 0 and 1.
CORRECTION = PointPrompt([[100, 110], [300, 30]], [1, 0])
DISC = next(given.prompt for given in scenario.PROMPTS if isinstance(given.prompt, MaskPrompt))


class ArrayFrames:
    """A clip in memory, 30 frames a second."""

    def __init__(self, images: list[NDArray[np.uint8]]) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int) -> NDArray[np.uint8]:
        return self._images[index]

    def stamp(self, index: int) -> int:
        return index * 33_333_333


class Ours:
    """A session with our segmenter."""

    def __init__(self, network: Any, options: VideoOptions) -> None:
        self._segmenter = VideoSegmenter(network, ArrayFrames(FRAMES), options)

    def prompt(self, frame: int, object_id: int, prompt: Prompt, clear_previous: bool = True) -> None:
        self._segmenter.add_prompt(frame, prompt, object_id, clear_previous=clear_previous)

    def propagate(self, first: int, last: int) -> None:
        for _ in self._segmenter.propagate(first, last, reverse=last < first):
            pass

    def remove(self, object_id: int) -> None:
        self._segmenter.remove_object(object_id)

    def track(self) -> Track:
        return {
            (memory.frame, object_id): Step(
                memory.logits[0], float(memory.found.scores[memory.row]), memory.pointer, memory.map
            )
            for object_id, known in self._segmenter._objects.items()
            for memory in (*known.bank.conditioning.values(), *known.bank.recent.values())
        }


class Theirs:
    """The same session with the official predictor."""

    def __init__(self, predictor: Any, options: VideoOptions) -> None:
        self._predictor = predictor
        self._predictor.add_all_frames_to_correct_as_cond = options.lasting_corrections
        self._state = official._start(self._predictor, FRAMES)
        self._state["num_frames"] = len(FRAMES)

    def prompt(self, frame: int, object_id: int, prompt: Prompt, clear_previous: bool = True) -> None:
        given = Given(frame, object_id, prompt, clear_previous)
        official._prompt(self._predictor, self._state, given)

    def propagate(self, first: int, last: int) -> None:
        count, reverse = abs(last - first), last < first
        for _ in self._predictor.propagate_in_video(self._state, first, count, reverse):
            pass

    def remove(self, object_id: int) -> None:
        self._predictor.remove_object(self._state, object_id, strict=True, need_output=False)

    def track(self) -> Track:
        ids = self._state["obj_idx_to_id"]
        return {
            (frame, ids[index]): Step(
                found["pred_masks"][0, 0],
                float(found["object_score_logits"]),
                found["obj_ptr"][0],
                found["maskmem_features"][0],
            )
            for index, outputs in self._state["output_dict_per_obj"].items()
            for kind in ("cond_frame_outputs", "non_cond_frame_outputs")
            for frame, found in outputs[kind].items()
        }


Session = Ours | Theirs


def forward(session: Session) -> None:
    session.prompt(0, 1, CLICK)
    session.prompt(0, 2, BOX)
    session.propagate(0, 11)


def backward(session: Session) -> None:
    session.prompt(11, 1, BOX)
    session.prompt(11, 2, DISC)
    session.propagate(11, 0)


def from_the_middle_both_ways(session: Session) -> None:
    session.prompt(5, 1, CLICK)
    session.propagate(5, 11)
    session.propagate(5, 0)


def with_a_prompt_from_the_future(session: Session) -> None:
    session.prompt(2, 1, BOX)
    session.prompt(8, 1, DISC)
    session.prompt(3, 2, CLICK)
    session.propagate(3, 11)


def corrected_and_continued(session: Session) -> None:
    session.prompt(0, 1, BOX)
    session.propagate(0, 11)
    session.prompt(4, 1, CORRECTION)
    session.propagate(5, 11)
    session.prompt(9, 1, DISC)
    session.propagate(8, 5)


def corrected_for_good(session: Session) -> None:
    session.prompt(0, 1, BOX)
    session.propagate(0, 11)
    session.prompt(4, 1, CORRECTION)
    session.prompt(4, 1, CLICK, clear_previous=False)
    session.propagate(0, 11)
    session.prompt(9, 1, DISC)
    session.propagate(8, 5)
    session.prompt(7, 1, CORRECTION)
    session.propagate(6, 1)


def with_an_object_added_and_one_removed(session: Session) -> None:
    session.prompt(0, 1, CLICK)
    session.prompt(0, 2, BOX)
    session.propagate(0, 6)
    session.prompt(4, 3, DISC)
    session.propagate(4, 9)
    session.remove(2)
    session.prompt(10, 1, BOX)
    session.propagate(7, 11)


@dataclass(frozen=True)
class Pair:
    """Both implementations with the same weights; neither encodes a frame twice, which takes longest."""

    ours: EncodedOnce
    theirs: Any


@pytest.fixture(scope="module")
def pair() -> Pair:
    network = tracking_network("sam2.1_hiera_tiny", FRAMES, SIZE, "both signs")
    predictor = official.twin(network)
    encode = predictor.forward_image
    encoded: dict[bytes, Any] = {}

    def encode_once(images: torch.Tensor) -> Any:
        key = images.numpy().tobytes()
        if key not in encoded:
            encoded[key] = encode(images)
        return encoded[key]

    predictor.forward_image = encode_once
    return Pair(EncodedOnce(network), predictor)


OFFICIAL, LASTING = VideoOptions(), VideoOptions(lasting_corrections=True)


@pytest.mark.parametrize(
    ("script", "options"),
    [
        (forward, OFFICIAL),
        (backward, OFFICIAL),
        (from_the_middle_both_ways, OFFICIAL),
        (with_a_prompt_from_the_future, OFFICIAL),
        (corrected_and_continued, OFFICIAL),
        (with_an_object_added_and_one_removed, OFFICIAL),
        (corrected_for_good, LASTING),
    ],
)
def test_every_number_is_the_official_one(
    pair: Pair, script: Callable[[Session], None], options: VideoOptions
) -> None:
    with torch.inference_mode():
        sessions = Ours(pair.ours, options), Theirs(pair.theirs, options)
        for session in sessions:
            script(session)
        ours, theirs = (session.track() for session in sessions)
    errors = scenario.compare(ours, theirs)
    assert scenario.agree(errors), errors
