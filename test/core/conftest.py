"""One thread: rounding is then the same on every machine, and tests beside each other do not fight."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_training import MUON, SIZE

from sam2_core.backends.self_check import SelfCheck
from sam2_core.model import CONFIGS, HieraConfig, Sam2Network, load_network
from sam2_core.tracking.rehearsal import rehearse
from sam2_core.training.config import TrainingConfig, load_config
from sam2_core.training.pool import render_shard

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def engine_network() -> Sam2Network:
    """The bundled model at a small size: what the tests of engines run."""
    return load_network("sam2_pico", image_size=64)


@pytest.fixture(scope="session")
def engine_graphs(engine_network: Sam2Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the graphs of `engine_stand_in.BUCKETS`, `<bucket's name>.onnx`."""
    from engine_stand_in import BUCKETS

    from sam2_core.backends.export import export_stages

    folder = tmp_path_factory.mktemp("graphs")
    export_stages(engine_network, "test", folder, "fp32", BUCKETS)
    return folder


@pytest.fixture(scope="session")
def engine_check(engine_network: Sam2Network) -> SelfCheck:
    """Compares programs with that model."""
    from engine_stand_in import BUCKETS

    return SelfCheck(engine_network, BUCKETS, rehearse)


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of one rendered clip of six frames, to train on."""
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
    """A training run of 8 steps in two stages, of images and of images and clips."""
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
        "precision": "bfloat16",
        "validation_clips": 2,
        "validate_every": 8,
        "checkpoint_every": 100,
        **MUON,
    }


@pytest.fixture
def config(settings: dict[str, Any]) -> TrainingConfig:
    """These settings."""
    return load_config(None, settings)
