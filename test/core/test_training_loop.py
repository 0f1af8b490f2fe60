"""The loop on a network small enough to train within a test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_folders
import yaml
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sam2_core.model import CONFIGS, HieraConfig, MemoryTokens, Sam2Network, load_network, multiplies_bfloat16
from sam2_core.training.batches import ClipBatch, ClipBatches
from sam2_core.training.config import TrainingConfig, load_config
from sam2_core.training.datasets.opening import open_datasets
from sam2_core.training.errors import TrainingError
from sam2_core.training.initialisation import begin_with, initialise
from sam2_core.training.pool import render_shard
from sam2_core.training.processes import ProcessGroup
from sam2_core.training.rollout import Interaction, Rollout, encode_frames
from sam2_core.training.run import TrainingRun, at_size, batch_losses
from sam2_core.training.train import train

SIZE = 64
BUNDLED = Path(__file__).parents[2] / "sam2_core" / "weights" / "sam2_pico.safetensors"
MUON = {"optimizer": "muon", "encoder_rate": 1, "layer_decay": 1, "schedule": "linear", "decay_steps": 2}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    render_shard("procedural", 0, frames=6, size=SIZE, folder=folder)
    return folder


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a configuration of a few thousand weights."""
    config = replace(
        CONFIGS["sam2_pico"],
        name="sam2_test",
        hiera=HieraConfig(8, 1, (1, 1, 1, 1), (2, 3), windows=(4, 4, 2, 2), position_grid=4),
        image_size=SIZE,
        hidden_dim=32,
        memory_dim=16,
        memory_layers=1,
        memory_mlp_dim=32,
        decoder_mlp_dim=32,
        iou_head_dim=32,
    )
    monkeypatch.setitem(CONFIGS, config.name, config)
    return config.name


@pytest.fixture
def settings(tiny: str, pool: Path, tmp_path: Path) -> dict[str, Any]:
    torch.manual_seed(0)
    weights = tmp_path / "first.safetensors"
    save_file(Sam2Network(CONFIGS[tiny]).state_dict(), weights)
    prompts = {"click": 0.4, "box": 0.3, "mask": 0.3}
    images = {"image_size": SIZE // 2, "frames": 1, "clips": 3, "objects": 2, "prompts": {"click": 1.0}}
    clips = {"frames": 4, "clips": 2, "objects": 2, "prompts": prompts, "corrections": 2}
    return {
        "model": tiny,
        "weights": str(weights),
        "seed": 5,
        "data": [{"rendered": "procedural", "path": str(pool)}],
        "stages": [
            {"steps": 4, "learning_rate": 2e-3, "affinity": 1.0, "batches": [images | {"repeats": 2}]},
            {"steps": 4, "learning_rate": 2e-3, "affinity": 0.5, "batches": [images, clips]},
        ],
        "warmup_steps": 1,
        "gradient_clip": 1.0,
        "drop_path": 0.1,
        "dropout": 0.1,
        "mosaics": 0.1,
        "ema_decay": 0.9,
        "validation_clips": 2,
        "validate_every": 8,
        "checkpoint_every": 100,
        **MUON,
    }


@pytest.fixture
def config(settings: dict[str, Any]) -> TrainingConfig:
    return load_config(None, settings)


def clip_batch(config: TrainingConfig, index: tuple[int, int] = (6, 1)) -> ClipBatch:
    return ClipBatches(config, open_datasets(config).training)[index]


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


def test_a_killed_run_resumes_exactly(pool: Path, tmp_path: Path) -> None:
    shape = {"image_size": SIZE, "clips": 1, "objects": 1, "corrected_frames": 0}
    settings = {
        "weights": str(BUNDLED),
        "data": [{"rendered": "procedural", "path": str(pool)}],
        "stages": [{"steps": 4, "batches": [shape | {"frames": 2, "prompts": {"mask": 1.0}}]}],
        "validation_clips": 0,
        "checkpoint_every": 1,
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "sam2_core.tools.train", "--config", str(path), "--out"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with subprocess.Popen([*command, str(killed)], env=os.environ | {"OMP_NUM_THREADS": "1"}) as process:
        while not (killed / "checkpoint.pt").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    step = torch.load(killed / "checkpoint.pt", weights_only=True)["step"]
    assert step < 4, "it was killed before its end"
    for folder in (killed, whole):
        subprocess.run([*command, str(folder)], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    for name, value in load_file(whole / "model.safetensors").items():
        assert torch.equal(value, load_file(killed / "model.safetensors")[name]), name


def test_two_processes_end_with_the_weights_of_one(pool: Path, tmp_path: Path) -> None:
    shape = {"image_size": SIZE, "clips": 1, "objects": 2, "corrected_frames": 0}
    image = {**shape, "frames": 1, "prompts": {"click": 1.0}}
    clip = {**shape, "frames": 2, "prompts": {"mask": 1.0}}
    settings = {
        "weights": str(BUNDLED),
        "data": [{"rendered": "procedural", "path": str(pool)}],
        "stages": [{"steps": 2, "learning_rate": 1e-3, "affinity": 1.0, "batches": [image, clip]}],
        "validation_clips": 1,
        **MUON,
    }
    configuration = tmp_path / "run.yaml"
    configuration.write_text(yaml.safe_dump(settings))
    states = []
    for count in (1, 2):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count]
        program = [
            "-m",
            "sam2_core.tools.train",
            "--config",
            configuration,
            "--out",
            tmp_path / f"run{count}",
        ]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([str(word) for word in (*launcher, *program)], check=True, env=environment)
        states.append(torch.load(tmp_path / f"run{count}" / "checkpoint.pt", weights_only=True))
    alone, shared = states
    assert alone["step"] == shared["step"] == 2
    for name, value in alone["network"].items():
        assert torch.equal(value, shared["network"][name]), name


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


def test_accumulated_batches_are_other_clips_of_the_same_shapes(settings: dict[str, Any]) -> None:
    settings["stages"] = [settings["stages"][1] | {"accumulate": 3}]
    config = load_config(None, settings)
    assert len(config.stage(0).slots) == 6
    second, fourth = clip_batch(config, (0, 1)), clip_batch(config, (0, 3))
    assert second.frames.shape == fourth.frames.shape
    assert not torch.equal(second.frames, fourth.frames)


def test_a_batch_that_is_not_finite_is_saved_and_left_out(config: TrainingConfig, tmp_path: Path) -> None:
    class Spoiling(ClipBatches):
        """Gives one batch of clips, of step 5, whose frames are not numbers."""

        def __getitem__(self, index: tuple[int, int]) -> ClipBatch:
            batch = super().__getitem__(index)
            return replace(batch, frames=batch.frames * torch.nan) if index == (5, 1) else batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sam2_core.training.train.ClipBatches", Spoiling)
        run = train(config, tmp_path)
    assert run.step == config.steps
    assert all(torch.isfinite(p).all() for p in run.network.parameters())
    saved = torch.load(tmp_path / "left_out" / "step5_batch1.pt", weights_only=True)
    assert saved["masks"].shape[0] == 4
    assert "step 5, batch 1: its loss is nan" in (tmp_path / "faults.txt").read_text()


def test_a_run_that_explodes_stops_with_its_last_good_checkpoint(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    calm = settings | {"checkpoint_every": 2}
    calm["stages"] = [settings["stages"][0] | {"steps": 2}]
    train(load_config(None, calm), tmp_path)
    good = load_file(tmp_path / "model.safetensors")
    wild = calm | {"stages": [*calm["stages"], settings["stages"][1] | {"steps": 30, "learning_rate": 1e30}]}
    with pytest.raises(TrainingError, match="not finite"):
        train(load_config(None, wild), tmp_path)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2
    for name, value in load_file(tmp_path / "model.safetensors").items():
        assert torch.equal(value, good[name]), name


def test_a_checkpoint_of_another_model_is_refused(config: TrainingConfig, tmp_path: Path) -> None:
    train(config, tmp_path, until=1)
    other = load_config(None, {"model": "sam2_pico", "data": [{"rendered": "procedural"}], **MUON})
    with pytest.raises(TrainingError, match="not of this configuration"):
        train(other, tmp_path)


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
