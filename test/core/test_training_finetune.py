"""Training as users do: fine-tuning the bundled model on a small folder; the paper's training. Minutes."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import training_folders
import yaml
from safetensors.torch import save_file

from sam2_core.evaluation.dataset import find_videos
from sam2_core.model import CONFIGS, Sam2Network, load_network
from sam2_core.tracking import PointPrompt, StreamingTracker
from sam2_core.training.datasets.folders import FolderSource

CORE = Path(__file__).parents[2] / "sam2_core"
BUNDLED = CORE / "weights" / "sam2_pico.safetensors"
SIZE = 128


def run(tool: str, *options: str | Path | int, folder: Path | None = None) -> None:
    command = [sys.executable, "-m", f"sam2_core.tools.{tool}", *map(str, options)]
    subprocess.run(command, check=True, cwd=folder)


@pytest.mark.slow
def test_the_fine_tuned_model_beats_the_one_it_started_from(tmp_path: Path) -> None:
    """Cells under a microscope: the bundled model takes the bright nucleus for the object."""
    data = training_folders.davis(
        tmp_path / "data", 30, make=training_folders.cells, frames=8, size=(SIZE, SIZE)
    )
    batch = {"frames": 4, "clips": 4, "objects": 2, "prompts": {"mask": 1.0}, "corrected_frames": 0}
    settings = {
        "stages": [{"steps": 60, "learning_rate": 5e-4, "batches": [batch]}],
        "warmup_steps": 10,
        "ema_decay": 0.9,
    }
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(settings))
    out = tmp_path / "run"
    named = ["--finetune", BUNDLED, "--data", data, "--config", tmp_path / "short.yaml"]
    run("train", *named, "--image-size", SIZE, "--device", "cpu", "--out", out)

    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.9 * losses[0], losses

    found = {}
    for name, checkpoint in {"before": BUNDLED, "after": out / "model.safetensors"}.items():
        chosen = ["--videos", out / "held_out.txt", "--checkpoint", checkpoint, "--image-size", SIZE]
        run("eval", data, *chosen, "--out", tmp_path / name)
        found[name] = json.loads((tmp_path / name / "results.json").read_text())["jf"]
    assert found["after"] > found["before"] + 0.05, found

    video = FolderSource(find_videos(data)[0]).open()
    tracker = StreamingTracker(load_network(checkpoint=out / "model.safetensors", image_size=SIZE))
    tracker.track(video.image(0), stamp=0)
    tracker.add_prompt(PointPrompt(points=[[64, 64]], labels=[1]), label="thing")
    assert len(tracker.track(video.image(1), stamp=1).objects) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("configuration", "model"),
    # From random weights, which are rehearsed with first, a small network is slow enough.
    [("paper_pretraining", "sam2_pico"), ("paper", "sam2.1_hiera_base_plus")],
)
def test_the_papers_training_takes_its_first_step(tmp_path: Path, configuration: str, model: str) -> None:
    """On folders as SA-1B and SA-V are, with one batch of each shape in the place of some 200.

    Half the side, because attention keeps its weights on a CPU: 24 GB are too few for clips of 1024 pixels.
    """
    training_folders.sa_1b(tmp_path / "sa_1b", 2)
    training_folders.sav(tmp_path / "sav_train", 2)
    settings = yaml.safe_load((CORE / "training" / "configs" / f"{configuration}.yaml").read_text())
    if "weights" in settings:
        (tmp_path / settings["weights"]).parent.mkdir()
        save_file(Sam2Network(CONFIGS[model]).state_dict(), tmp_path / settings["weights"])
    (stage,) = settings["stages"]
    stage |= {"steps": 1, "accumulate": 1}
    for batch in stage["batches"]:
        batch["image_size"] = CONFIGS[model].image_size // 64 * 32
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(settings | {"model": model, "validation_clips": 1}))
    run("train", "--config", "one.yaml", "--device", "cpu", "--out", "run", folder=tmp_path)

    last = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 1
    assert math.isfinite(last["loss"])
    assert load_network(checkpoint=tmp_path / "run/model.safetensors").config.name == model
