"""ONNX Runtime gives the torch backend's numbers, on images and through a clip; a bad export is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from random_weights import tracking_network
from scenario import agree, clip, compare, track

from sam2_core.backends.export import export_stages
from sam2_core.backends.manifest import MANIFEST, WEIGHTS, ManifestError
from sam2_core.backends.onnxruntime_programs import OnnxRuntimeError, load_programs, session_options
from sam2_core.backends.programs import Bucket, stage_buckets
from sam2_core.backends.staged import StagedBackend
from sam2_core.model import Sam2Network, state_fingerprint
from sam2_core.tracking import ImageSegmenter, PointPrompt

SIZE = 128


class Exported:
    """A network, the folder of its exported stages, and the backend that runs them."""

    def __init__(self, model: str, folder: Path) -> None:
        self.network = tracking_network(model, clip(8), SIZE, "both signs")
        self.folder = folder
        fingerprint = state_fingerprint(self.network.state_dict())
        # Three objects: two and one. The history of nine frames is a full one.
        buckets = stage_buckets(self.network.config, [1, 2], "full")
        export_stages(self.network, fingerprint, folder, "fp32", buckets)
        programs, _ = load_programs(folder, self.network, "cpu", session_options(1))
        self.backend = StagedBackend(self.network, programs, "ONNX Runtime")


@pytest.fixture(
    scope="module", params=["sam2_pico", pytest.param("sam2.1_hiera_tiny", marks=pytest.mark.slow)]
)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(request.param, tmp_path_factory.mktemp("exported"))


def test_a_clip_is_tracked_with_the_same_numbers(exported: Exported) -> None:
    frames = clip(9)
    errors = compare(track(exported.backend, frames), track(exported.network, frames))
    assert agree(errors), errors


def test_an_image_is_segmented_with_the_same_numbers(exported: Exported) -> None:
    prompts = [
        PointPrompt([[160, 120]], [1]),
        PointPrompt([[60, 60], [90, 200]], [1, 0], box=[40, 50, 150, 210]),
    ]
    answers = []
    for backend in (exported.network, exported.backend):
        segmenter = ImageSegmenter(backend)
        segmenter.set_image(clip(1)[0])
        first = segmenter.predict_batch(prompts, multimask=True)
        # With a mask alone there is no point, not even padding.
        again = segmenter.predict_batch(prompts, previous_logits=[one.logits[0] for one in first])
        answers.append([*first, *again])
    for ours, expected in zip(*answers, strict=True):
        assert np.abs(ours.logits - expected.logits).max() < 0.01
        assert np.abs(ours.iou - expected.iou).max() < 1e-3
        assert abs(ours.score - expected.score) < 0.01


def test_nothing_is_copied_on_the_way_in_or_out(exported: Exported) -> None:
    bucket = Bucket("decode_tracked", 1)
    programs, _ = load_programs(exported.folder, exported.network, "cpu", session_options(1))
    program = programs[bucket]
    side, dim = exported.network.config.embedding_size, exported.network.config.hidden_dim
    inputs = {
        "embedding": torch.randn(1, dim, side, side),
        "skip4": torch.randn(1, dim // 8, 4 * side, 4 * side),
        "skip8": torch.randn(1, dim // 4, 2 * side, 2 * side),
    }
    first = program(inputs)
    before = first["logits"].clone()
    # The program reads the tensors where they lie, and writes where it has written before.
    inputs["embedding"].neg_()
    second = program(inputs)
    assert second["logits"].data_ptr() == first["logits"].data_ptr()
    assert not second["logits"].equal(before)
    inputs["embedding"].neg_()
    assert torch.allclose(program(inputs)["logits"], before, atol=1e-4)


def copied(exported: Exported, folder: Path) -> Path:
    shutil.copytree(exported.folder, folder, dirs_exist_ok=True)
    return folder


@pytest.mark.parametrize(
    "damage", ["altered weights", "altered graph", "missing graph", "cut manifest", "none"]
)
def test_a_damaged_export_is_refused_by_name(exported: Exported, tmp_path: Path, damage: str) -> None:
    folder = copied(exported, tmp_path)
    graph = folder / "encode_image.onnx"
    victim, message = {
        "altered weights": (folder / WEIGHTS, "altered or is damaged"),
        "altered graph": (graph, "altered or is damaged"),
        "missing graph": (graph, f"{graph} cannot be read"),
        "cut manifest": (folder / MANIFEST, f"{folder / MANIFEST} is damaged"),
        "none": (folder / MANIFEST, "sam2-export writes it"),
    }[damage]
    content = victim.read_bytes()
    if damage in ("missing graph", "none"):
        victim.unlink()
    elif damage == "cut manifest":
        victim.write_bytes(content[: len(content) // 2])
    else:
        victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ManifestError, match=message):
        load_programs(folder, exported.network, "cpu", session_options(1))


def test_stages_of_another_model_are_refused(exported: Exported, tmp_path: Path) -> None:
    folder = copied(exported, tmp_path)
    other = Sam2Network(exported.network.config)
    with pytest.raises(OnnxRuntimeError, match=r"holds .*, not .* at 128 px, weights"):
        load_programs(folder, other, "cpu", session_options(1))


def test_a_provider_that_is_not_there_is_told(exported: Exported) -> None:
    with pytest.raises(OnnxRuntimeError, match="CUDAExecutionProvider"):
        load_programs(exported.folder, exported.network, "cuda", session_options(1))
