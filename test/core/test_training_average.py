"""Averaging the weights of several models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sam2_core.model import load_network

BUNDLED = Path(__file__).parents[2] / "sam2_core" / "weights" / "sam2_pico.safetensors"


def average(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sam2_core.training.average", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_average_lies_between_the_models_and_loads(tmp_path: Path) -> None:
    bundled = load_file(BUNDLED)
    later, target = tmp_path / "later.safetensors", tmp_path / "new" / "both.safetensors"
    save_file({name: value.float() + 1.0 for name, value in bundled.items()}, later)
    done = average("--of", BUNDLED, 0.75, "--of", later, 0.25, "--to", target)
    assert done.returncode == 0, done.stderr
    for name, value in load_network("sam2_pico", target).state_dict().items():
        torch.testing.assert_close(value, bundled[name].float() + 0.25, atol=2e-3, rtol=2e-3, msg=name)


def test_models_of_other_sizes_are_refused(tmp_path: Path) -> None:
    state = load_file(BUNDLED)
    state["maskmem_tpos_enc"] = state["maskmem_tpos_enc"][:2]
    other, target = tmp_path / "other.safetensors", tmp_path / "both.safetensors"
    save_file(state, other)
    done = average("--of", BUNDLED, 0.5, "--of", other, 0.5, "--to", target)
    assert done.returncode == 2
    assert "other.safetensors" in done.stderr
    assert "maskmem_tpos_enc (2, 1, 1, 32) instead of" in done.stderr
    assert not target.exists()


@pytest.mark.parametrize("shares", [(0.5, 0.4), (1.5, -0.5)])
def test_shares_that_make_no_average_are_refused(shares: tuple[float, float], tmp_path: Path) -> None:
    target = tmp_path / "both.safetensors"
    done = average("--of", BUNDLED, shares[0], "--of", BUNDLED, shares[1], "--to", target)
    assert done.returncode == 2
    assert f"shares {shares[0]}, {shares[1]} add up to" in done.stderr
    assert not target.exists()
