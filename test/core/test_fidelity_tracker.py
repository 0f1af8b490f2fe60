"""The streaming tracker gives the official video predictor's numbers, and the comparison notices if not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import pytest
from official import track_official
from random_weights import Scores, tracking_network
from scenario import REFINEMENTS, Delegate, EncodedOnce, Track, agree, clip, compare, track
from torch import Tensor

from sam2_core.model import MemoryTokens
from sam2_core.tracking import TrackerOptions

MODEL = "sam2.1_hiera_tiny"


@dataclass(frozen=True)
class Case:
    backend: EncodedOnce
    official: Track


@cache
def case(scores: Scores) -> Case:
    """One weight set at 256 px with the official outcome."""
    network = tracking_network(MODEL, clip(), 256, scores)
    return Case(EncodedOnce(network), track_official(network, clip()))


@pytest.mark.parametrize("scores", ["both signs", "visible"])
def test_three_objects_are_tracked_as_officially(scores: Scores) -> None:
    ours = track(case(scores).backend, clip())
    assert agree(errors := compare(ours, case(scores).official)), errors
    visible = [step.score > 0 for step in ours.values()]
    assert all(visible) if scores == "visible" else 3 < sum(visible) < len(visible) - 3


def test_repeated_prompts_and_corrections_by_mask_and_box_are_official() -> None:
    backend, frames = case("visible").backend, clip(6)
    official = track_official(backend.backend, frames, REFINEMENTS)
    assert agree(errors := compare(track(backend, frames, REFINEMENTS), official)), errors


def test_corrections_that_last_are_official() -> None:
    backend, frames = case("visible").backend, clip(8)
    official = track_official(backend.backend, frames, REFINEMENTS, lasting_corrections=True)
    lasting = track(backend, frames, REFINEMENTS, TrackerOptions(lasting_corrections=True))
    assert agree(errors := compare(lasting, official)), errors
    assert not agree(errors := compare(track(backend, frames, REFINEMENTS), official)), errors


@pytest.mark.slow
@pytest.mark.parametrize("scores", ["both signs", "visible"])
def test_at_full_size(scores: Scores) -> None:
    network = tracking_network(MODEL, clip(), 1024, scores)
    errors = compare(track(network, clip()), track_official(network, clip()))
    assert agree(errors), errors


class WithoutOneMemory(Delegate):
    """Leaves out the last memory, that of the frame before, of objects that have more."""

    def attend_memory(self, embedding: Tensor, memory: MemoryTokens) -> Tensor:
        kept = slice(max(memory.maps.shape[1] - 1, 1))
        valid = None if memory.map_valid is None else memory.map_valid[:, kept]
        memory = replace(memory, maps=memory.maps[:, kept], rows=memory.rows[:, kept], map_valid=valid)
        return self.backend.attend_memory(embedding, memory)


class RolledTemporalEncoding(Delegate):
    def attend_memory(self, embedding: Tensor, memory: MemoryTokens) -> Tensor:
        rows = (memory.rows + 1) % self.backend.config.num_memories
        return self.backend.attend_memory(embedding, replace(memory, rows=rows))


class FourPointers(Delegate):
    def attend_memory(self, embedding: Tensor, memory: MemoryTokens) -> Tensor:
        valid = None if memory.pointer_valid is None else memory.pointer_valid[:, :4]
        pointers, offsets = memory.pointers[:, :4], memory.offsets[:, :4]
        memory = replace(memory, pointers=pointers, offsets=offsets, pointer_valid=valid)
        return self.backend.attend_memory(embedding, memory)


class TimesOfAShortVideo(Delegate):
    """Normalises the pointers' times by the twelve frames of the clip instead of by sixteen."""

    def attend_memory(self, embedding: Tensor, memory: MemoryTokens) -> Tensor:
        return self.backend.attend_memory(embedding, replace(memory, offsets=memory.offsets * 15 / 11))


class WithoutNoObjectEmbedding(Delegate):
    """As if `no_obj_embed_spatial` were zero."""

    def encode_memory(
        self, embedding: Tensor, logits: Tensor, score: Tensor, binarize: bool = False
    ) -> Tensor:
        return self.backend.encode_memory(embedding, logits, score.abs() + 1, binarize)


class WithoutNoObjectPointer(Delegate):
    def hide_pointer(self, pointer: Tensor, score: Tensor) -> Tensor:
        return pointer


class ProbabilitiesForPrompts(Delegate):
    """Does not binarise the masks of prompted frames."""

    def encode_memory(
        self, embedding: Tensor, logits: Tensor, score: Tensor, binarize: bool = False
    ) -> Tensor:
        return self.backend.encode_memory(embedding, logits, score)


@pytest.mark.parametrize(
    ("scores", "wrong"),
    [
        ("visible", WithoutOneMemory),
        ("visible", RolledTemporalEncoding),
        ("visible", FourPointers),
        ("visible", TimesOfAShortVideo),
        ("visible", ProbabilitiesForPrompts),
        ("both signs", WithoutNoObjectEmbedding),
        ("both signs", WithoutNoObjectPointer),
    ],
)
def test_the_comparison_notices(scores: Scores, wrong: type[Delegate]) -> None:
    errors = compare(track(wrong(case(scores).backend), clip()), case(scores).official)
    assert not agree(errors), errors
