"""Checkpoints of every kind: the same weights in, the same numbers out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import official
import pytest
import torch
from numpy.typing import NDArray
from random_weights import random_network
from safetensors.torch import load_file, save_file

from sam2_core.model import (
    CheckpointError,
    Sam2Network,
    load_image_network,
    load_network,
    read_checkpoint,
    write_checkpoint,
)
from sam2_core.model.preprocess import preprocess
from sam2_core.tools import model as tool
from sam2_core.tracking import ImageSegmenter, PointPrompt, StreamingTracker

SIZE = 256
NAMES = ("sam2.1_hiera_tiny", "sam2_hiera_tiny")
CLICKS = PointPrompt([(70.0, 90.0), (200.0, 40.0)], [1, 0])


@pytest.fixture(scope="module")
def transformers() -> Any:
    official.declare_torchvision_operators()
    import transformers

    return transformers


@pytest.fixture(scope="module", params=NAMES)
def network(request: pytest.FixtureRequest) -> Sam2Network:
    return random_network(request.param, SIZE)


@pytest.fixture(scope="module")
def tiny() -> Sam2Network:
    return random_network(NAMES[0], SIZE)


@pytest.fixture(scope="module")
def meta_file(tiny: Sam2Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Meta's file of SAM 2.1 tiny, saved from the official module."""
    return save_official(tiny, tmp_path_factory.mktemp("meta") / "tiny.pt")


def save_official(network: Sam2Network, path: Path) -> Path:
    torch.save({"model": official.twin(network, video=False).state_dict()}, path)
    return path


def frames(count: int) -> list[NDArray[np.uint8]]:
    """A square that moves over noise: uint8 `[S, S, 3]`."""
    still = np.random.default_rng(3).integers(0, 120, (SIZE, SIZE, 3), np.uint8)
    clip = []
    for i in range(count):
        frame = still.copy()
        frame[60:120, 40 + 8 * i : 110 + 8 * i] = (220, 160, 40)
        clip.append(frame)
    return clip


@torch.inference_mode()
def save_hugging_face(transformers: Any, kind: str, seed: int, folder: Path, modern: bool = True) -> Any:
    """A model of transformers with random weights, 256 px, of SAM 2.1 or 2, saved by itself."""
    s = SIZE // 16
    vision = {
        "backbone_config": {"model_type": "sam2_hiera_det_model", "image_size": [SIZE, SIZE]},
        "backbone_feature_sizes": [[4 * s, 4 * s], [2 * s, 2 * s], [s, s]],
    }
    settings: dict[str, Any] = {"vision_config": vision, "prompt_encoder_config": {"image_size": SIZE}}
    if kind == "Sam2Video":
        settings |= {
            "image_size": SIZE,
            "memory_attention_rope_feat_sizes": [s, s],
            "enable_occlusion_spatial_embedding": modern,
            "enable_temporal_pos_encoding_for_object_pointers": modern,
        }
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**settings)).eval()
    generator = torch.Generator().manual_seed(seed)
    for key, value in model.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if "layer_norm" in key and key.endswith("weight"):
            value.copy_(1 + 0.1 * noise)
        elif value.ndim > 1 and key.endswith("weight") and "embed.weight" not in key:
            value.copy_(noise / value[0].numel() ** 0.5)
        else:
            value.copy_(0.3 * noise)
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(
        model.shared_image_embedding.positional_embedding
    )
    model.mask_decoder.pred_obj_score_head.proj_out.bias += 10.0  # the object stays visible
    model.save_pretrained(folder)
    return model


def close(ours: Any, theirs: Any, tolerance: float = 2e-3) -> None:
    ours, theirs = torch.as_tensor(ours).float(), torch.as_tensor(theirs).float()
    assert theirs.std() > 1e-2  # something to compare
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * max(1.0, theirs.std().item()))


@torch.inference_mode()
def test_meta_file_of_the_official_module(network: Sam2Network, tmp_path: Path) -> None:
    path = save_official(network, tmp_path / "official.pt")
    loaded = load_network(checkpoint=path, image_size=SIZE)
    assert loaded.config == network.config
    state = network.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())


@torch.inference_mode()
def test_hugging_face_image_model(transformers: Any, tmp_path: Path) -> None:
    theirs = save_hugging_face(transformers, "Sam2", 1, tmp_path)
    ours = load_image_network(checkpoint=tmp_path)
    assert ours.config.image_size == SIZE  # from config.json
    pixels = preprocess(frames(1)[0], SIZE)[None]
    points, labels = torch.tensor(CLICKS.points)[None], torch.tensor(CLICKS.labels)[None]
    expected = theirs(pixels, input_points=points[None], input_labels=labels[None], multimask_output=True)

    features = ours.encode_image(pixels)
    decoded = ours.decode_masks(
        ours.without_memory(features.embedding),
        features.skip4,
        features.skip8,
        ours.encode_prompts(points, labels),
    )
    close(decoded.logits[0, 1:], expected.pred_masks[0, 0])
    close(decoded.iou[0, 1:], expected.iou_scores[0, 0])
    assert abs(decoded.score.item() - expected.object_score_logits.item()) < 1e-2


@pytest.mark.parametrize("modern", [True, False], ids=["2.1", "2"])
def test_hugging_face_video_model_tracks_alike(transformers: Any, tmp_path: Path, modern: bool) -> None:
    theirs = save_hugging_face(transformers, "Sam2Video", 2, tmp_path, modern)
    clip = frames(3)
    session = transformers.Sam2VideoInferenceSession(
        video=torch.stack([preprocess(frame, SIZE) for frame in clip]),
        video_height=SIZE,
        video_width=SIZE,
        dtype=torch.float32,
    )
    index = session.obj_id_to_idx(1)
    coordinates = {
        "point_coords": torch.tensor(CLICKS.points)[None, None],
        "point_labels": torch.tensor(CLICKS.labels)[None, None].int(),
    }
    session.add_point_inputs(index, 0, coordinates)
    session.obj_with_new_inputs = [1]

    network = load_network(checkpoint=tmp_path)
    assert network.config.generation == ("2.1" if modern else "2.0")
    tracker = StreamingTracker(network)
    tracker.track(clip[0], 0)
    ours = [tracker.add_prompt(CLICKS)]
    ours += [tracker.track(frame, stamp).objects[0] for stamp, frame in enumerate(clip[1:], start=1)]
    with torch.inference_mode():
        for i, result in enumerate(ours):
            expected = theirs(session, frame_idx=i)
            assert abs(result.score - expected.object_score_logits.item()) < 1e-2
            assert result.visible
            # Memories are bfloat16 on both sides: a step of theirs moves logits by about this much.
            close(result.logits, expected.pred_masks[0, 0], tolerance=0.03)


def test_one_checkpoint_in_every_layout(meta_file: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(meta_file)
    fingerprints = {checkpoint.fingerprint}
    for name in ("sam2.1-hiera-tiny", "one.safetensors", "meta.pt"):
        write_checkpoint(checkpoint, tmp_path / name)
        again = read_checkpoint(tmp_path / name)
        assert again.config == checkpoint.config
        assert again.state.keys() == checkpoint.state.keys()
        fingerprints.add(again.fingerprint)
        checkpoint = again  # from each into the next
    assert len(fingerprints) == 1
    changed = dict(checkpoint.state)
    changed["no_obj_ptr"] = changed["no_obj_ptr"] + 1e-6
    torch.save({"model": changed}, tmp_path / "changed.pt")
    assert read_checkpoint(tmp_path / "changed.pt").fingerprint not in fingerprints


def test_ours_into_the_official_module_and_transformers(
    transformers: Any, meta_file: Path, tiny: Sam2Network, tmp_path: Path
) -> None:
    checkpoint = read_checkpoint(meta_file)
    write_checkpoint(checkpoint, tmp_path / "meta.pt")
    theirs = official.build(NAMES[0], SIZE, video=False)
    theirs.load_state_dict(torch.load(tmp_path / "meta.pt", weights_only=True)["model"], strict=True)

    write_checkpoint(checkpoint, tmp_path / "folder")
    model, report = transformers.Sam2VideoModel.from_pretrained(tmp_path / "folder", output_loading_info=True)
    assert not any(report.values())
    assert model.config.vision_config.backbone_config.global_attention_blocks == [5, 7, 9]
    expected = load_file(tmp_path / "folder" / "model.safetensors")
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


def test_image_half_says_what_it_can_do(transformers: Any, tmp_path: Path) -> None:
    save_hugging_face(transformers, "Sam2", 1, tmp_path)
    with pytest.raises(CheckpointError, match="videos cannot be tracked"):
        load_network(checkpoint=tmp_path)
    alone = tmp_path / "model.safetensors"
    segmenter = ImageSegmenter(load_image_network(checkpoint=alone, image_size=SIZE))
    segmenter.set_image(frames(1)[0])
    assert segmenter.predict(CLICKS).masks.shape == (1, SIZE, SIZE)
    with pytest.raises(CheckpointError, match=r"image half .* a \.pt holds all"):
        write_checkpoint(read_checkpoint(alone), tmp_path / "half.pt")


def drop_a_key(state: dict[str, torch.Tensor]) -> None:
    del state["memory_encoder.projection.bias"]


def misshape(state: dict[str, torch.Tensor]) -> None:
    state["mask_decoder.iou_token.weight"] = state["mask_decoder.iou_token.weight"][:, :-1].contiguous()


def add_a_key(state: dict[str, torch.Tensor]) -> None:
    state["vision_encoder.backbone.extra"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (drop_a_key, "1 keys missing: memory_encoder.out_proj.bias"),
        (misshape, r"iou_token.weight \(1, 255\) instead of \(1, 256\)"),
        (add_a_key, "1 keys unexpected: vision_encoder.backbone.extra"),
    ],
)
def test_a_spoilt_hugging_face_file_is_refused(
    meta_file: Path, tmp_path: Path, spoil: Callable[[dict[str, torch.Tensor]], None], told: str
) -> None:
    path = tmp_path / "model.safetensors"
    write_checkpoint(read_checkpoint(meta_file), path)
    state = load_file(path)
    spoil(state)
    save_file(state, path)
    with pytest.raises(CheckpointError, match=told):
        load_network(checkpoint=path)


def test_a_config_of_another_model_is_refused(meta_file: Path, tmp_path: Path) -> None:
    write_checkpoint(read_checkpoint(meta_file), tmp_path)
    path = tmp_path / "config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"num_maskmem": 4}))
    with pytest.raises(CheckpointError, match="num_maskmem 4, not 7"):
        load_network(checkpoint=tmp_path)
    path.write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_network(checkpoint=tmp_path)


@pytest.mark.parametrize("size", [1000, 0, "x", [256, 512], []])
def test_a_config_with_an_image_size_that_cannot_be_is_refused(
    meta_file: Path, tmp_path: Path, size: object
) -> None:
    write_checkpoint(read_checkpoint(meta_file), tmp_path)
    path = tmp_path / "config.json"
    content = json.loads(path.read_text())
    content["vision_config"]["backbone_config"]["image_size"] = size
    path.write_text(json.dumps(content))
    told = f"checkpoint {tmp_path}: config.json: image_size {size!r} is not allowed: a positive multiple"
    with pytest.raises(CheckpointError, match=re.escape(told)):
        load_network(checkpoint=tmp_path)


def test_tool_tells_and_converts(meta_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["convert", str(meta_file), str(tmp_path / "folder")]) == 0
    capsys.readouterr()
    told = []
    for path in (meta_file, tmp_path / "folder", tmp_path / "folder" / "model.safetensors"):
        assert tool.main(["info", str(path)]) == 0
        told.append(dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines()))
    assert len({facts["fingerprint"] for facts in told}) == 1
    assert len({facts["kind"] for facts in told}) == 2
    assert told[0]["generation"].strip() == "SAM 2.1"
    assert told[0]["parameters"].strip() == "38,962,498"  # as published


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["info", "nowhere.pt"], "no such file"),
        (["info", __file__], "not a readable PyTorch file|damaged"),
        (["info", "JUNK"], "junk.pt: not a readable PyTorch file"),
        (["convert", "FILE", "out.onnx"], "allowed: a name in .pt"),
        (["convert", "FILE", "nowhere/out.pt"], "cannot be written"),
    ],
)
def test_tool_refuses(
    meta_file: Path, tmp_path: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    junk = tmp_path / "junk.pt"
    junk.write_bytes(b"hello" * 100)  # the unpickler takes it for instructions
    files = {"FILE": str(meta_file), "JUNK": str(junk)}
    given = [files.get(argument, argument) for argument in arguments]
    assert tool.main(given) == 1
    assert re.search(told, capsys.readouterr().err)
