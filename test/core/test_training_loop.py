"""The loop on a network small enough to train within a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from sam2_core.model import CONFIGS, HieraConfig, MemoryTokens, Sam2Network
from sam2_core.training.augmentation import choose_frames
from sam2_core.training.batches import ClipBatches
from sam2_core.training.config import BatchShape, Stage, TrainingConfig, load_config
from sam2_core.training.initialisation import begin_with, initialise
from sam2_core.training.pool import render_shard
from sam2_core.training.rollout import Interaction, Rollout, encode_frames
from sam2_core.training.train import batch_losses, train

SIZE = 64
SHIPPED = Path(__file__).parents[2] / "sam2_core" / "training" / "configs" / "sam2_pico.yaml"
BUNDLED = Path(__file__).parents[2] / "sam2_core" / "weights" / "sam2_pico.safetensors"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    render_shard("procedural", 0, frames=6, size=SIZE, folder=folder)
    return folder


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> TrainingConfig:
    tiny = replace(
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
    monkeypatch.setitem(CONFIGS, tiny.name, tiny)
    prompts = {"click": 0.4, "box": 0.3, "mask": 0.3}
    images = BatchShape(SIZE // 2, 1, 3, 2, {"click": 1.0}, 2, 1)
    clips = BatchShape(SIZE, 4, 2, 2, prompts, 1, 2)
    stages = (Stage(4, 2e-3, 1.0, (images,)), Stage(4, 2e-3, 0.5, (images, clips)))
    return TrainingConfig(tiny.name, 5, {"procedural": 1.0}, stages, 1, 2, 0.05, 1.0, 0.9, 2, 8, 100)


def test_a_resumed_run_equals_an_uninterrupted_one(
    config: TrainingConfig, pool: Path, tmp_path: Path
) -> None:
    whole = train(config, pool, tmp_path / "whole")
    train(config, pool, tmp_path / "parts", until=3)
    train(config, pool, tmp_path / "parts", until=6)
    parts = train(config, pool, tmp_path / "parts")
    assert parts.step == whole.step == config.steps
    for name, value in whole.average.module.state_dict().items():
        assert torch.equal(value, parts.average.module.state_dict()[name]), name
    last = json.loads((tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == config.steps
    assert 0 <= last["track_iou"] <= 1


def test_two_processes_end_with_the_weights_of_one(pool: Path, tmp_path: Path) -> None:
    shape = {"image_size": SIZE, "clips": 1, "objects": 2, "repeats": 1, "corrected_frames": 0}
    image = {**shape, "frames": 1, "prompts": {"click": 1.0}}
    clip = {**shape, "frames": 2, "prompts": {"mask": 1.0}}
    settings = yaml.safe_load(SHIPPED.read_text()) | {
        "mixture": {"procedural": 1.0},
        "stages": [{"steps": 2, "learning_rate": 1e-3, "affinity": 1.0, "batches": [image, clip]}],
        "validation_clips": 1,
    }
    configuration = tmp_path / "run.yaml"
    configuration.write_text(yaml.safe_dump(settings))
    options = ["--config", configuration, "--pool", pool, "--begin-with", BUNDLED, "--out"]
    states = []
    for count in (1, 2):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count]
        command = [*launcher, "-m", "sam2_core.training.train", *options, tmp_path / f"run{count}"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([str(word) for word in command], check=True, env=environment)
        states.append(torch.load(tmp_path / f"run{count}" / "checkpoint.pt", weights_only=True))
    alone, shared = states
    assert alone["step"] == shared["step"] == 2
    for name, value in alone["network"].items():
        assert torch.equal(value, shared["network"][name]), name


def test_an_earlier_run_gives_all_but_the_memory(config: TrainingConfig, tmp_path: Path) -> None:
    earlier, later = Sam2Network(CONFIGS[config.model]), Sam2Network(CONFIGS[config.model])
    save_file(earlier.state_dict(), tmp_path / "earlier.safetensors")
    before = {name: value.clone() for name, value in later.state_dict().items()}
    begin_with(later, tmp_path / "earlier.safetensors")
    for name, value in later.state_dict().items():
        source = before if name.startswith(("memory_attention", "memory_encoder")) else earlier.state_dict()
        assert torch.equal(value, source[name]), name


def test_memory_is_first_read_where_the_frame_looks(config: TrainingConfig) -> None:
    torch.manual_seed(0)
    network = Sam2Network(CONFIGS[config.model])
    initialise(network)
    side = network.config.embedding_size
    row, column = 1, 2
    memory = MemoryTokens(
        maps=torch.zeros(1, 1, network.config.memory_dim, side, side),
        rows=torch.zeros(1, 1, dtype=torch.long),
        pointers=torch.zeros(1, 1, network.config.hidden_dim),
        offsets=torch.ones(1, 1),
    )
    embedding = torch.randn(1, network.config.hidden_dim, side, side)
    with torch.no_grad():
        without = network.attend_memory(embedding, memory)
        memory.maps[:, :, :, row, column] = torch.randn(network.config.memory_dim)
        change = (network.attend_memory(embedding, memory) - without).square().sum(dim=1)[0]
    assert divmod(int(change.argmax()), side) == (row, column)


def test_a_few_steps_lower_the_loss(config: TrainingConfig, pool: Path) -> None:
    torch.manual_seed(0)
    network = Sam2Network(CONFIGS[config.model])
    batch = ClipBatches(config, pool)[6, 1]
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    history = []
    for _ in range(12):
        loss = batch_losses(network, batch, encode_frames(network, batch), Interaction("click")).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert np.mean(history[-3:]) < 0.8 * np.mean(history[:3])


def test_a_batch_depends_on_its_step_alone(config: TrainingConfig, pool: Path) -> None:
    first, again, other = (ClipBatches(config, pool)[step, 1] for step in (5, 5, 6))
    assert torch.equal(first.frames, again.frames)
    assert torch.equal(first.masks, again.masks)
    assert not torch.equal(first.frames, other.frames)
    assert first.masks[0].flatten(1).any(dim=1).all(), "every object is seen on the first frame"


@pytest.mark.parametrize(
    ("multimask", "frames", "masks"),
    [
        # One click is ambiguous, two are not; a frame without prompts keeps all candidates.
        (True, [0, 0, 1, 2, 2, 3], [3, 1, 3, 3, 3, 3]),
        # The single mask answers to everything; the candidates learn from single clicks beside it.
        (False, [0, 0, 0, 1, 2, 2, 2, 3], [3, 1, 1, 1, 1, 3, 1, 1]),
    ],
)
def test_a_corrected_frame_is_answered_again_and_a_given_mask_never(
    config: TrainingConfig, pool: Path, multimask: bool, frames: list[int], masks: list[int]
) -> None:
    network = Sam2Network(replace(CONFIGS[config.model], multimask=multimask))
    batch = ClipBatches(config, pool)[6, 1]
    clicked = Rollout(
        network, batch, encode_frames(network, batch), Interaction("click", frozenset({0, 2}))
    ).run()
    assert [p.frame for p in clicked] == frames
    assert [p.logits.shape[1] for p in clicked] == masks
    given = Rollout(network, batch, encode_frames(network, batch), Interaction("mask")).run()
    assert [p.frame for p in given] == [1, 2, 3]


def test_the_loss_of_a_late_frame_reaches_the_memory_of_the_first(config: TrainingConfig, pool: Path) -> None:
    network = Sam2Network(CONFIGS[config.model])
    batch = ClipBatches(config, pool)[6, 1]
    last = Rollout(network, batch, encode_frames(network, batch), Interaction("mask")).run()[-1]
    last.logits.sum().backward()
    for part in (network.memory_encoder, network.memory_attention, network.image_encoder):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())


def test_chosen_frames_are_evenly_spaced_and_run_both_ways() -> None:
    rng = np.random.default_rng(0)
    steps = {tuple(np.diff(choose_frames(16, 8, rng))) for _ in range(40)}
    assert steps == {(k,) * 7 for k in (-2, -1, 1, 2)}


def test_the_shipped_configuration_is_valid() -> None:
    config = load_config(SHIPPED)
    assert config.model in CONFIGS
    for shape in (shape for stage in config.stages for shape in stage.batches):
        assert sum(shape.prompts.values()) == pytest.approx(1)
    assert config.learning_rate(0) < config.learning_rate(config.warmup_steps)
    assert config.learning_rate(config.steps - 1) < 0.1 * config.learning_rate(config.warmup_steps)


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(SHIPPED.read_text() + "\nlearning_rat: 1\n")
    with pytest.raises(ValueError, match="learning_rat"):
        load_config(path)
