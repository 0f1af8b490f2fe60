"""Several processes train one network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_training import BUNDLED, MUON, SIZE

from sam2_core.model import CONFIGS, Sam2Config
from sam2_core.training import rehearsal
from sam2_core.training.config import load_config
from sam2_core.training.errors import TrainingError
from sam2_core.training.processes import ProcessGroup
from sam2_core.training.train import train


def test_two_processes_end_with_the_weights_of_one(pool: Path, tmp_path: Path) -> None:
    shape = {"image_size": SIZE, "clips": 1, "objects": 2, "corrected_frames": 0}
    image = {**shape, "frames": 1, "prompts": {"click": 1.0}}
    clip = {**shape, "frames": 2, "prompts": {"mask": 1.0}}
    stage = {"steps": 2, "learning_rate": 1e-3, "affinity": 1.0, "batches": [image, clip], "accumulate": 2}
    settings = {
        "weights": str(BUNDLED),
        "data": [{"rendered": "procedural", "path": str(pool)}],
        "stages": [stage],
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
    before = load_file(BUNDLED)
    one, two = alone["network"], shared["network"]
    moved = torch.cat([(value - before[name]).flatten() for name, value in one.items()])
    apart = torch.cat([(value - two[name]).flatten() for name, value in one.items()])
    assert apart.norm() < 0.05 * moved.norm(), "sums have another order; nothing else differs"


def train_apart(rank: int, folder: Path, model: Sam2Config, settings: dict[str, Any]) -> None:
    """One of two processes whose random weights, and data, are other ones; then with a folder of its own."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    CONFIGS[model.name] = model
    rehearsal.STEPS = 3
    config = load_config(None, settings | {"seed": rank})
    meet(rank, folder / "first_meeting")
    run = train(config, folder / "shared", until=2)
    torch.save(
        {"network": run.network.state_dict(), "average": run.average.state_dict()}, folder / f"{rank}.pt"
    )
    meet(rank, folder / "second_meeting")
    with pytest.raises(TrainingError, match=f"begins at step {2 - 2 * rank} and others do not"):
        train(config, folder / ("shared" if rank == 0 else "own"))


def meet(rank: int, place: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=2)


def test_processes_begin_alike_or_not_at_all(settings: dict[str, Any], tmp_path: Path) -> None:
    given = settings | {"weights": "", "validation_clips": 0, "workers": 0}
    given["stages"] = settings["stages"][1:]
    model = CONFIGS[given["model"]]
    torch.multiprocessing.spawn(train_apart, (tmp_path, model, given), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for part, weights in first.items():
        for name, value in weights.items():
            assert torch.equal(value, second[part][name]), name


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", str(torch.cuda.device_count()))
    with pytest.raises(TrainingError, match=r"device is cuda, and process \d+ .* finds \d+ GPUs"):
        ProcessGroup("cuda")
