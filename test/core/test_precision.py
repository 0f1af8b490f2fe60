"""bfloat16 where the processor is fast in it and the model's masks stay as they are."""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from random_weights import tracking_network
from scenario import PROMPTS, clip

from sam2_core.model import CONFIGS, Sam2Network, choose_precision, load_network
from sam2_core.tracking import StreamingTracker

RELEASED, BUNDLED = CONFIGS["sam2.1_hiera_tiny"], CONFIGS["sam2_pico"]


@dataclass(frozen=True)
class Twins:
    """One network in both precisions."""

    exact: Sam2Network
    reduced: Sam2Network


@pytest.fixture(scope="module")
def twins() -> Twins:
    """A released configuration whose masks have as sharp edges as trained ones."""
    exact = tracking_network(RELEASED.name, clip(), 256, "visible")
    reduced = copy.deepcopy(exact)
    reduced.reduce_precision()
    return Twins(exact, reduced)


@pytest.mark.parametrize(
    ("flags", "device", "chosen"),
    [
        ("fpu avx512f avx512_bf16 amx_tile", "cpu", "bfloat16"),
        ("fpu amx_bf16 amx_tile", "cpu", "bfloat16"),
        ("fpu avx2 avx512f amx_bf16x", "cpu", "float32"),
        ("fpu avx512_bf16 amx_bf16", "mps", "float32"),
    ],
)
def test_auto_is_what_the_processor_is_fast_in(tmp_path: Path, flags: str, device: str, chosen: str) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\nprocessor\t: 1\nflags\t\t: {flags}\n")
    assert choose_precision("auto", RELEASED, device, cpuinfo) == chosen
    assert choose_precision("auto", BUNDLED, device, cpuinfo) == "float32"
    assert choose_precision("bfloat16", BUNDLED, device, cpuinfo) == "bfloat16"
    assert choose_precision("float32", RELEASED, device, cpuinfo) == "float32"


def test_auto_works_where_no_processor_is_described(tmp_path: Path) -> None:
    assert choose_precision("auto", RELEASED, "cpu", tmp_path / "none") == "float32"


def test_loading_takes_a_known_precision_only() -> None:
    assert load_network().precision == "float32"
    assert load_network(precision="bfloat16").precision == "bfloat16"
    with pytest.raises(ValueError, match="precision 'float16' is unknown; allowed: auto, float32, bfloat16"):
        load_network(precision="float16")


def test_convolutions_on_a_gpu_multiply_all_bits_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    load_network()
    assert torch.backends.cudnn.allow_tf32  # what others in the process compute on a GPU stays theirs
    with suppress(AssertionError, RuntimeError):  # where there is no GPU
        load_network(device="cuda")
    assert not torch.backends.cudnn.allow_tf32


def overlaps(one: Sam2Network, other: Sam2Network) -> list[float]:
    """IoU of every visible object on every frame of the fidelity scenario, tracked with either network."""
    trackers = StreamingTracker(one), StreamingTracker(other)
    found = []
    for index, image in enumerate(clip()):
        results = [tracker.track(image, index) for tracker in trackers]
        for first, second in zip(*(result.objects for result in results), strict=True):
            assert first.visible
            assert second.visible
            found.append(float((first.mask & second.mask).sum() / (first.mask | second.mask).sum()))
        for given in PROMPTS:
            if given.frame == index:
                known = given.object_id if trackers[0].objects[given.object_id - 1 :] else None
                for tracker in trackers:
                    tracker.add_prompt(given.prompt, known)
    return found


def test_masks_in_bfloat16_are_those_in_float32(twins: Twins) -> None:
    found = overlaps(twins.reduced, twins.exact)
    assert len(found) > 25
    assert 0.99 <= np.mean(found) < 1
    assert min(found) > 0.97


def test_stages_take_and_give_float32(twins: Twins) -> None:
    config = twins.reduced.config
    with torch.inference_mode():
        features = twins.reduced.encode_image(torch.zeros(1, 3, config.image_size, config.image_size))
        logits = torch.zeros(1, 1, config.mask_size, config.mask_size)
        memory = twins.reduced.encode_memory(features.embedding, logits, torch.ones(1))
    assert {t.dtype for t in (features.embedding, features.skip4, features.skip8, memory)} == {torch.float32}
    reduced = {name for name, value in twins.reduced.named_parameters() if value.dtype == torch.bfloat16}
    assert {name.partition(".")[0] for name in reduced} == set(Sam2Network.heavy)
    assert not any("norm" in name or "pos_embed" in name for name in reduced)
