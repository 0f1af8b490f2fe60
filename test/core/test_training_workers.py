"""What the processes that read clips give a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from sam2_core.training.pool import render_shard

BUNDLED = Path(__file__).parents[2] / "sam2_core" / "weights" / "sam2_pico.safetensors"


def test_scenes_rendered_by_another_process_are_those_rendered_here(tmp_path: Path) -> None:
    """Tabletops are drawn by OpenGL, which this process has begun to use when the other one starts."""
    render_shard("procedural", 0, frames=2, size=64, folder=tmp_path)
    shape = {"image_size": 64, "frames": 2, "clips": 3, "objects": 1, "corrected_frames": 0}
    settings = {
        "weights": str(BUNDLED),
        "data": [{"rendered": "tabletop"}, {"rendered": "procedural", "path": str(tmp_path)}],
        "stages": [{"steps": 1, "learning_rate": 1e-3, "batches": [shape]}],
        "validation_clips": 0,
    }
    weights = []
    for workers in (0, 1):
        path, out = tmp_path / f"{workers}.yaml", tmp_path / f"run{workers}"
        path.write_text(yaml.safe_dump(settings | {"workers": workers}))
        command = [sys.executable, "-m", "sam2_core.tools.train", "--config", str(path), "--out", str(out)]
        try:
            subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=120)
        except subprocess.TimeoutExpired:
            pytest.fail(f"a run with workers: {workers} hangs")
        weights.append(load_file(out / "model.safetensors"))
    here, there = weights
    for name, value in here.items():
        assert torch.equal(value, there[name]), name
