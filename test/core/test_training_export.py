"""What a run's weights become when they are exported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from sam2_core.model import load_network

BUNDLED = Path(__file__).parents[2] / "sam2_core" / "weights" / "sam2_pico.safetensors"


def test_the_moving_average_of_a_run_loads_and_takes_half_the_room(tmp_path: Path) -> None:
    average = {f"module.{name}": value.float() + 0.25 for name, value in load_file(BUNDLED).items()}
    run, target = tmp_path / "run", tmp_path / "new" / "small.safetensors"
    run.mkdir()
    torch.save({"average": average | {"n_averaged": torch.tensor(3)}}, run / "checkpoint.pt")
    command = [sys.executable, "-m", "sam2_core.training.export", "--run", str(run), "--to", str(target)]
    subprocess.run(command, check=True)
    exported = load_network("sam2_pico", str(target)).state_dict()
    assert target.stat().st_size < 1.01 * sum(2 * value.numel() for value in exported.values())
    for name, value in exported.items():
        torch.testing.assert_close(value, average[f"module.{name}"], atol=2e-3, rtol=2e-3, msg=name)
