"""What a run does when it is killed, and with batches and files that cannot be used."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_training import BUNDLED, MUON, SIZE, clip_batch

from sam2_core.training.batches import ClipBatch, ClipBatches
from sam2_core.training.config import TrainingConfig, load_config
from sam2_core.training.errors import TrainingError
from sam2_core.training.journal import Journal
from sam2_core.training.processes import ProcessGroup
from sam2_core.training.run import TrainingRun
from sam2_core.training.train import train


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


def spoil(monkeypatch: pytest.MonkeyPatch, spoils: Callable[[int, int], bool]) -> None:
    """Let the frames of a test's batches be no numbers where ``spoils`` says so of a step and a slot."""

    class Spoiled(ClipBatches):
        def __getitem__(self, index: tuple[int, int]) -> ClipBatch:
            batch = super().__getitem__(index)
            return replace(batch, frames=batch.frames * torch.nan) if spoils(*index) else batch

    monkeypatch.setattr("sam2_core.training.train.ClipBatches", Spoiled)


def test_a_batch_that_is_not_finite_is_saved_and_left_out(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, lambda step, slot: (step, slot) == (5, 1))
    run = train(config, tmp_path)
    assert run.step == config.steps
    assert all(torch.isfinite(p).all() for p in run.network.parameters())
    saved = torch.load(tmp_path / "left_out" / "step5_batch1.pt", weights_only=True)
    assert saved["masks"].shape[0] == 4
    assert saved["prompted"][0] == 0
    assert (saved["corrections"], saved["lasting"]) == (2, True)
    assert "step 5, batch 1: its loss is nan" in (tmp_path / "faults.txt").read_text()


def test_a_run_goes_on_while_some_batch_of_every_step_counts(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings["stages"] = [settings["stages"][0] | {"steps": 7, "accumulate": 2}]
    spoil(monkeypatch, lambda step, slot: slot == step % 2)
    run = train(load_config(None, settings | {"checkpoint_every": 1, "workers": 0}), tmp_path)
    assert len(list((tmp_path / "left_out").iterdir())) == 7
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == run.step == 7


def test_a_run_whose_last_step_is_left_out_ends_with_the_weights_before_it(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings["stages"] = [settings["stages"][0] | {"steps": 3}]
    config = load_config(None, settings | {"workers": 0})
    before = train(config, tmp_path / "before", until=2).network.state_dict()
    spoil(monkeypatch, lambda step, slot: step == 2)
    run = train(config, tmp_path / "whole")
    assert torch.load(tmp_path / "whole" / "checkpoint.pt", weights_only=True)["step"] == run.step == 3
    assert all(torch.equal(value, before[name]) for name, value in run.network.state_dict().items())


def test_a_run_that_never_learned_says_that_nothing_is_saved(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, lambda step, slot: True)
    with pytest.raises(TrainingError, match="the last 5 of 5 steps is not finite; nothing is saved yet"):
        train(load_config(None, settings | {"workers": 0}), tmp_path)


def test_a_gradient_that_is_not_finite_leaves_the_reasons_already_given(config: TrainingConfig) -> None:
    run = TrainingRun(config, ProcessGroup("cpu"))
    run.step = 6
    batches = {slot: clip_batch(config, (6, slot)) for slot in range(2)}
    batches[0] = replace(batches[0], frames=batches[0].frames * torch.nan)
    run.network.no_mem_embed.register_hook(lambda gradient: gradient * torch.inf)
    reasons = run.advance(batches).left_out
    assert reasons[0] == "its loss is nan"
    assert "gradient is" in reasons[1]


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


@pytest.mark.parametrize("content", [None, [1, 2], {"step": 1}])
def test_a_checkpoint_that_is_damaged_is_named(
    config: TrainingConfig, content: object, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.pt"
    path.touch()
    if content is not None:
        torch.save(content, path)
    with pytest.raises(TrainingError, match=r"checkpoint\.pt is not of this configuration, or damaged: ."):
        TrainingRun(config, ProcessGroup("cpu")).load(path)


def test_a_run_that_stops_between_its_two_files_has_the_later_weights(
    config: TrainingConfig, tmp_path: Path
) -> None:
    run = TrainingRun(config, ProcessGroup("cpu"))
    run.save(tmp_path)
    (tmp_path / "checkpoint.pt").unlink()
    (tmp_path / "checkpoint.pt").mkdir()  # which no file can replace
    for average in run.average.parameters():
        average.data += 1
    with pytest.raises(OSError, match=r"checkpoint\.pt"):
        run.save(tmp_path)
    for name, value in load_file(tmp_path / "model.safetensors").items():
        assert torch.equal(value, run.average.module.state_dict()[name]), name


def test_a_resumed_run_names_a_fault_again_but_writes_it_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for found in (["a.png: is damaged"], ["a.png: is damaged", "b.png: is empty"]):
        journal = Journal(tmp_path, leads=False)
        journal.faults(found)
        journal.faults(found)
        told = capsys.readouterr().err.splitlines()
        assert told == [f"sam2-train: {fault}" for fault in found]
    assert (tmp_path / "faults.txt").read_text() == "a.png: is damaged\nb.png: is empty\n"
