"""`scripts/gpu_check.sh` on a machine without a GPU: one line that says so, at once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_check.sh"


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs the script where nvidia-smi finds nothing."""
    absent = folder / "nvidia-smi"
    absent.write_text("#!/bin/sh\nexit 9\n")
    absent.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run([SCRIPT, *options], env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.skipif(Path("/dev/nvhost-gpu").exists(), reason="a Jetson has a GPU without nvidia-smi")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert done.stderr.startswith("gpu_check: no NVIDIA GPU on this machine")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--fast"], "option --fast is unknown"),
        (["--out"], "--out needs a value"),
        (["--checkpoint", "nothing.pt"], "checkpoint nothing.pt: there is no such file"),
    ],
)
def test_a_bad_option_is_told(tmp_path: Path, options: list[str], told: str) -> None:
    done = run(tmp_path, *options)
    assert done.returncode == 1
    assert told in done.stderr


def test_help_lists_the_options(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    assert "--workspace MIB" in done.stdout
