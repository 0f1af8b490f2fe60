"""The self-check accepts what is right and finds what is wrong, in every stage and in tracking."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_stand_in import BUCKETS, STALE, WRONG, Fault, StandInBuilder
from scenario import Delegate
from torch import Tensor

from sam2_core.backends.build_progress import BuildProgress
from sam2_core.backends.programs import Bucket, Program, signature
from sam2_core.backends.self_check import Rehearsal, SelfCheck, TorchProgram, compare_rehearsals
from sam2_core.backends.staged import StagedBackend
from sam2_core.model import DecodedMasks, Sam2Network, load_network
from sam2_core.tracking.rehearsal import DISTINCT_OBJECTS, rehearse


@pytest.fixture(scope="module")
def right(engine_network: Sam2Network, engine_graphs: Path) -> Mapping[Bucket, Program]:
    """The exported graphs, executed by ONNX Runtime."""
    builder, programs = StandInBuilder(), {}
    for bucket in BUCKETS:
        with BuildProgress("", threading.Event()) as progress:
            plan = builder.build(engine_graphs / f"{bucket.name}.onnx", "fp32", progress)
        programs[bucket] = builder.load(plan, signature(bucket, engine_network.config))
    return programs


@pytest.mark.parametrize("bucket", BUCKETS, ids=lambda bucket: bucket.stage)
def test_a_right_stage_passes(
    engine_check: SelfCheck, right: Mapping[Bucket, Program], bucket: Bucket
) -> None:
    comparison = engine_check.stage(bucket, right[bucket])
    assert comparison.problem == ""
    assert comparison.figure < 1e-4


@pytest.mark.parametrize("bucket", BUCKETS, ids=lambda bucket: bucket.stage)
@pytest.mark.parametrize("fault", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_stage_is_found(
    engine_check: SelfCheck, right: Mapping[Bucket, Program], bucket: Bucket, fault: Fault
) -> None:
    assert engine_check.stage(bucket, fault(right[bucket])).problem


@pytest.mark.parametrize(
    "output", ["embedding", "skip4", "skip8", "conditioned", "logits", "iou", "pointers", "score", "memory"]
)
def test_every_output_is_compared(
    engine_check: SelfCheck, right: Mapping[Bucket, Program], engine_network: Sam2Network, output: str
) -> None:
    buckets = [bucket for bucket in BUCKETS if output in signature(bucket, engine_network.config).outputs]
    for bucket in buckets:

        def spoilt(inputs: Mapping[str, Tensor], bucket: Bucket = bucket) -> dict[str, Tensor]:
            outputs = right[bucket](inputs)
            return {**outputs, output: 1.1 * outputs[output]}

        assert output in engine_check.stage(bucket, spoilt).problem
    assert buckets


def test_a_mask_that_hides_nothing_is_found(engine_network: Sam2Network, engine_check: SelfCheck) -> None:
    # Slots that are not valid must not be read: an engine that reads them all is wrong.
    (bucket,) = (one for one in BUCKETS if one.stage == "attend_memory")
    program = TorchProgram(engine_network, bucket)

    def careless(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return program({**inputs, "map_valid": torch.ones_like(inputs["map_valid"])})

    assert engine_check.stage(bucket, program).problem == ""
    assert engine_check.stage(bucket, careless).problem


@pytest.mark.parametrize("bucket", BUCKETS, ids=lambda bucket: bucket.stage)
def test_the_tracker_shows_what_a_single_run_does_not(
    engine_network: Sam2Network, engine_check: SelfCheck, right: Mapping[Bucket, Program], bucket: Bucket
) -> None:
    stale = {**right, bucket: STALE(right[bucket])}
    assert engine_check.tracker(StagedBackend(engine_network, right, "test"), {1, 2, 3}).problem == ""
    assert engine_check.tracker(StagedBackend(engine_network, stale, "test"), {1, 2, 3}).problem


def test_any_backend_can_be_checked(engine_network: Sam2Network, engine_check: SelfCheck) -> None:
    class Thin(Delegate):
        """Masks a little too small."""

        def decode_masks(self, *inputs: Tensor) -> DecodedMasks:
            decoded = self.backend.decode_masks(*inputs)
            return DecodedMasks(decoded.logits - 1.0, decoded.iou, decoded.pointers, decoded.score)

    assert engine_check.tracker(engine_network, {DISTINCT_OBJECTS}).figure == 1
    assert "mask IoU" in engine_check.tracker(Thin(engine_network), {DISTINCT_OBJECTS}).problem


def test_more_objects_are_the_same_ones_again(engine_network: Sam2Network) -> None:
    found, expected = rehearse(engine_network, 5), rehearse(engine_network).repeated(5)
    assert compare_rehearsals(found, expected).figure == 1
    assert np.array_equal(found.masks[:, 0], found.masks[:, 3])


def test_scores_of_another_sign_and_nan_are_found() -> None:
    masks = np.ones((2, 1, 4, 4), bool)
    expected = Rehearsal(masks, np.array([[1.0], [-1.0]], np.float32))
    for scores, problem in (([[1], [-2]], ""), ([[1], [1]], "other sign"), ([[1], [np.nan]], "NaN")):
        found = Rehearsal(masks, np.array(scores, np.float32))
        assert problem in compare_rehearsals(found, expected).problem
        assert bool(problem) == bool(compare_rehearsals(found, expected).problem)


def test_the_reference_must_be_in_float32() -> None:
    low = load_network("sam2_pico", image_size=64, precision="bfloat16")
    with pytest.raises(ValueError, match="the reference is in bfloat16"):
        SelfCheck(low, BUCKETS, rehearse)


def test_the_bundled_model_follows_every_object_of_the_reference_clip() -> None:
    found = rehearse(load_network())
    prompted = np.array([[0, 0, 2]]) <= np.arange(len(found.masks))[:, None]
    assert np.array_equal(found.scores > 0, prompted)
    shares = found.masks.mean(axis=(2, 3))
    assert (shares[prompted] > 0.02).all(), "an IoU of hardly anything would say hardly anything"
    assert (shares[~prompted] == 0).all()
