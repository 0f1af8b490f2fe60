"""A run on a network small enough to train within a test (the fixtures `tiny` and `settings`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_folders
from safetensors.torch import save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import SIZE, clip_batch

from sam2_core.model import CONFIGS, MemoryTokens, Sam2Network, load_network, multiplies_bfloat16
from sam2_core.training.config import TrainingConfig, load_config
from sam2_core.training.initialisation import begin_with, initialise
from sam2_core.training.processes import ProcessGroup
from sam2_core.training.rollout import Interaction, Rollout, encode_frames
from sam2_core.training.run import TrainingRun, at_size, batch_losses
from sam2_core.training.train import train
from sam2_core.training.validation import validate


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    settings: dict[str, Any], optimizer: str, tmp_path: Path
) -> None:
    config = load_config(None, settings | {"optimizer": optimizer})
    whole = train(config, tmp_path / "whole")
    train(config, tmp_path / "parts", until=3)
    train(config, tmp_path / "parts", until=6)
    parts = train(config, tmp_path / "parts")
    assert parts.step == whole.step == config.steps
    for name, value in whole.average.module.state_dict().items():
        assert torch.equal(value, parts.average.module.state_dict()[name]), name
    last = json.loads((tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == config.steps
    assert 0 <= last["track_iou"] <= 1


@pytest.mark.parametrize("memory_anew", [False, True])
def test_a_run_begins_with_all_of_a_checkpoint_or_all_but_the_memory(
    config: TrainingConfig, memory_anew: bool, tmp_path: Path
) -> None:
    earlier, later = Sam2Network(CONFIGS[config.model]), Sam2Network(CONFIGS[config.model])
    save_file(earlier.state_dict(), tmp_path / "earlier.safetensors")
    before = {name: value.clone() for name, value in later.state_dict().items()}
    begin_with(later, tmp_path / "earlier.safetensors", memory_anew)
    for name, value in later.state_dict().items():
        anew = memory_anew and name.startswith(("memory_attention", "memory_encoder"))
        assert torch.equal(value, (before if anew else earlier.state_dict())[name]), name


def test_a_run_from_random_weights_and_what_it_leaves_behind(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    config = load_config(None, settings | {"weights": ""})
    run = train(config, tmp_path, until=2)
    weights = load_network(config.model, tmp_path / "model.safetensors").state_dict()
    for name, value in run.average.module.state_dict().items():
        assert torch.equal(value, weights[name]), name
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"loss", "dice", "learning_rate", "track_iou"} <= set(board.Tags()["scalars"])
    assert board.Images("validation")[-1].height == SIZE // 2, "of the first stage"


def one_memory(network: Sam2Network, fill: Callable[..., torch.Tensor]) -> MemoryTokens:
    """One object's memory of one frame, its map and pointer filled by ``fill``."""
    side = network.config.embedding_size
    return MemoryTokens(
        maps=fill(1, 1, network.config.memory_dim, side, side),
        rows=torch.zeros(1, 1, dtype=torch.long),
        pointers=fill(1, 1, network.config.hidden_dim),
        offsets=torch.ones(1, 1),
    )


def test_memory_is_first_read_where_the_frame_looks(config: TrainingConfig) -> None:
    torch.manual_seed(0)
    network = Sam2Network(CONFIGS[config.model])
    initialise(network)
    side = network.config.embedding_size
    row, column = 1, 2
    memory = one_memory(network, torch.zeros)
    embedding = torch.randn(1, network.config.hidden_dim, side, side)
    with torch.no_grad():
        without = network.attend_memory(embedding, memory)
        memory.maps[:, :, :, row, column] = torch.randn(network.config.memory_dim)
        change = (network.attend_memory(embedding, memory) - without).square().sum(dim=1)[0]
    assert divmod(int(change.argmax()), side) == (row, column)


def test_a_few_steps_lower_the_loss(config: TrainingConfig) -> None:
    torch.manual_seed(0)
    network = Sam2Network(CONFIGS[config.model])
    batch = clip_batch(config)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    history = []
    for _ in range(12):
        features = encode_frames(network, batch)
        loss = batch_losses(network, batch, features, Interaction("click"), alpha=0.5).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert np.mean(history[-3:]) < 0.8 * np.mean(history[:3])


def test_a_batch_depends_on_its_step_alone(config: TrainingConfig) -> None:
    first, again, other = (clip_batch(config, (step, 1)) for step in (5, 5, 6))
    assert torch.equal(first.frames, again.frames)
    assert torch.equal(first.masks, again.masks)
    assert not torch.equal(first.frames, other.frames)
    assert first.masks[0].flatten(1).any(dim=1).all(), "every object is seen on the first frame"


@pytest.mark.parametrize(
    ("changes", "frames", "masks"),
    [
        # One click is ambiguous, two are not; a frame without prompts keeps all candidates.
        ({"multimask": True}, [0, 0, 1, 2, 2, 3], [3, 1, 3, 3, 3, 3]),
        # The single mask answers to everything; the candidates learn from single clicks beside it.
        ({"multimask": False}, [0, 0, 0, 1, 2, 2, 2, 3], [3, 1, 1, 1, 1, 3, 1, 1]),
        # The first click is answered twice before it is corrected.
        ({"multimask": True, "second_look": True}, [0, 0, 0, 1, 2, 2, 3], [3, 3, 1, 3, 3, 3, 3]),
    ],
)
def test_a_corrected_frame_is_answered_again_and_a_given_mask_never(
    config: TrainingConfig, changes: dict[str, bool], frames: list[int], masks: list[int]
) -> None:
    network = Sam2Network(replace(CONFIGS[config.model], **{"second_look": False} | changes))
    batch = clip_batch(config)
    features = encode_frames(network, batch)
    clicked = Rollout(network, batch, features, Interaction("click", frozenset({0, 2}))).run()
    assert [p.frame for p in clicked] == frames
    assert [p.logits.shape[1] for p in clicked] == masks
    given = Rollout(network, batch, features, Interaction("mask")).run()
    assert [p.frame for p in given] == [1, 2, 3]
    often = Rollout(network, batch, features, Interaction("box", frozenset({0}), corrections=3)).run()
    assert [p.frame for p in often] == [0, 0, 0, 0, 1, 2, 3]


def test_the_loss_of_a_late_frame_reaches_the_memory_of_the_first(config: TrainingConfig) -> None:
    network = Sam2Network(CONFIGS[config.model])
    batch = clip_batch(config)
    last = Rollout(network, batch, encode_frames(network, batch), Interaction("mask")).run()[-1]
    last.logits.sum().backward()
    for part in (network.memory_encoder, network.memory_attention, network.image_encoder):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())


def test_activations_computed_again_give_the_same_gradients(settings: dict[str, Any]) -> None:
    gradients = []
    for checkpointing in (False, True):
        changed = {"checkpointing": checkpointing, "precision": "float32", "drop_path": 0}
        config = load_config(None, settings | changed)
        run = TrainingRun(config, ProcessGroup("cpu"))
        run.step = 6
        run.advance({slot: clip_batch(config, (6, slot)) for slot in range(2)})
        gradients.append([p.grad for p in run.network.parameters()])
    for kept, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, kept, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("asked", ["auto", "bfloat16", "float32"])
def test_a_run_computes_in_bfloat16_where_it_is_asked_for_or_fast(
    settings: dict[str, Any], asked: str
) -> None:
    run = TrainingRun(load_config(None, settings | {"precision": asked}), ProcessGroup("cpu"))
    fast = "bfloat16" if multiplies_bfloat16("cpu") else "float32"
    assert run.network.precision == (fast if asked == "auto" else asked)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_weights_that_a_step_does_not_use_stay_as_they_are(settings: dict[str, Any], optimizer: str) -> None:
    """Decay would shrink the memory's, step by step, while a network is trained on images alone."""
    config = load_config(None, settings | {"optimizer": optimizer, "weight_decay": 0.5})
    run = TrainingRun(config, ProcessGroup("cpu"))
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.advance({0: clip_batch(config, (0, 0))})
    moved = {
        name.split(".")[0] for name, v in run.network.state_dict().items() if not torch.equal(v, before[name])
    }
    assert {"image_encoder", "sam_mask_decoder"} <= moved
    assert not {"memory_attention", "memory_encoder"} & moved


def test_blocks_are_left_out_of_training_alone(settings: dict[str, Any]) -> None:
    run = TrainingRun(load_config(None, settings | {"drop_path": 0.5}), ProcessGroup("cpu"))
    trunk, average = run.network.image_encoder.trunk, run.average.module.image_encoder.trunk
    pixels = torch.rand(1, 3, SIZE, SIZE).expand(32, -1, -1, -1)
    with torch.no_grad():
        first, *_, last = trunk(pixels)
        assert len(first.unique(dim=0)) == 1, "the first block is always there"
        assert len(last.unique(dim=0)) > 8
        assert len(average(pixels)[-1].unique(dim=0)) == 1, "what is validated and kept is whole"
        block = trunk.blocks[-1]
        x = torch.rand(1, 4, 4, 32).expand(2000, -1, -1, -1)
        assert len(block(x, 0.5).unique(dim=0)) == 4, "either branch is there or not"


def test_dropout_is_of_memory_attention_in_training_alone(settings: dict[str, Any]) -> None:
    run = TrainingRun(load_config(None, settings | {"dropout": 0.5, "drop_path": 0}), ProcessGroup("cpu"))
    repeatable = []
    for network in (run.network, at_size(run.network, SIZE // 2), run.average.module):
        network.precision = "float32"
        side = network.config.embedding_size
        memory = one_memory(network, torch.rand)
        embedding = torch.rand(1, network.config.hidden_dim, side, side)
        with torch.no_grad():
            first, again = (network.attend_memory(embedding, memory) for _ in range(2))
        repeatable.append(torch.equal(first, again))
    assert repeatable == [False, False, True], "what is validated and kept is whole"
    with torch.no_grad():
        first, again = (encode_frames(run.network, clip_batch(run.config)).embedding for _ in range(2))
    assert torch.equal(first, again)


def test_what_is_left_out_depends_on_the_step_alone(settings: dict[str, Any]) -> None:
    config = load_config(None, settings | {"drop_path": 0.5, "dropout": 0.5})
    values = []
    for before in (0, 1):
        run = TrainingRun(config, ProcessGroup("cpu"))
        run.step = 6
        torch.rand(before)
        values.append(run.advance({slot: clip_batch(config, (6, slot)) for slot in range(2)}).values)
    assert values[0] == values[1]


def test_validation_encodes_a_frame_of_every_clip_at_a_time(config: TrainingConfig) -> None:
    """As a GPU has room for that which trains with `checkpointing`, and runs the tools."""
    network, batch = Sam2Network(CONFIGS[config.model]).eval(), clip_batch(config)
    encoded: list[int] = []
    network.image_encoder.register_forward_hook(lambda _, given, __: encoded.append(len(given[0])))
    validate(network, [batch])
    frames, clips = batch.frames.shape[:2]
    assert encoded == [clips] * frames


def test_accumulated_batches_are_other_clips_of_the_same_shapes(settings: dict[str, Any]) -> None:
    settings["stages"] = [settings["stages"][1] | {"accumulate": 3}]
    config = load_config(None, settings)
    assert len(config.stage(0).slots) == 6
    second, fourth = clip_batch(config, (0, 1)), clip_batch(config, (0, 3))
    assert second.frames.shape == fourth.frames.shape
    assert not torch.equal(second.frames, fourth.frames)


def test_a_released_model_trains_on_sparsely_annotated_videos(tmp_path: Path) -> None:
    """Windows of 14 tokens that do not divide the map, three candidates, frames without masks."""
    data = training_folders.davis(tmp_path / "data", 2, every=3)
    weights = tmp_path / "tiny.pt"
    torch.save({"model": Sam2Network(CONFIGS["sam2.1_hiera_tiny"]).state_dict()}, weights)
    settings = {
        "weights": str(weights),
        "data": [{"path": str(data), "held_out": 0}],
        "stages": [
            {"steps": 2, "batches": [{"image_size": 128, "frames": 4, "objects": 1, "corrections": 1}]}
        ],
        "checkpointing": True,
        "validation_clips": 0,
    }
    run = train(load_config(None, settings), tmp_path / "run")
    assert run.step == 2
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert np.isfinite(json.loads(lines[-1])["loss"])
    assert load_network(checkpoint=tmp_path / "run" / "model.safetensors", image_size=128)
