"""The benchmark of a device runs from beginning to end, on the CPU with small settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from random_weights import random_network

from sam2_core.model import Sam2Network

PROGRAM = Path(__file__).parents[2] / "benchmark" / "gpu.py"
sys.path.append(str(PROGRAM.parent))

import gpu  # noqa: E402
import gpu_rows  # noqa: E402
from gpu_report import table  # noqa: E402
from programs_beside import Images, Steps  # noqa: E402
from roofline import Rates  # noqa: E402

SMALL = ["--device", "cpu", "--image-size", "128", "--threads", "1"]


def run(out: Path, *options: str) -> dict:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *SMALL, *options, "--out", str(out)],
        env=os.environ | {"XDG_CACHE_HOME": str(out)},  # where nothing is exported yet
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((out / "gpu.json").read_text())


def test_all_is_measured_and_reported(tmp_path: Path) -> None:
    counts = ["--objects", "1", "2", "--frames", "2", "--growth-frames", "60", "--node-frames", "0"]
    found = run(tmp_path, "--models", "sam2_pico", "--executors", "torch", "tensorrt", *counts)
    measured = [row for row in found["rows"] if not row["failed"]]
    assert [(row["objects"], row["program"]) for row in measured] == [
        (count, f"ours, torch, {kind}") for count in (1, 2) for kind in ("stream", "clip")
    ]
    (absent,) = [row for row in found["rows"] if row["failed"]]
    assert absent["program"] == "ours, tensorrt, stream"
    assert "cannot run: tensorrt is not used: PyTorch finds no NVIDIA GPU" in absent["failed"]
    for row in measured:
        assert 0 < row["frame"]["median"] <= row["frame"]["p95"]
        assert row["frames_per_second"] > 0
    for stream in measured[::2]:
        assert sum(stage["median"] for stage in stream["stages"].values()) < 2 * stream["frame"]["median"]
        assert min(stream["gflop"], stream["gbyte"], stream["share"], stream["bound"]) > 0
    assert found["growth"]["sam2_pico"]["frames"] == 60
    assert "| sam2_pico | 128 | 2 | ours, torch, clip |" in (tmp_path / "gpu.md").read_text()
    assert cv2.imread(str(tmp_path / "gpu.png")) is not None


@pytest.mark.slow
def test_other_programs_are_measured_beside_ours(tmp_path: Path) -> None:
    options = ["--models", "sam2.1_hiera_tiny", "--objects", "1", "--frames", "1", "--growth-frames", "0"]
    found = run(tmp_path, *options, "--executors", "torch", "onnxruntime", "--node-frames", "4")
    programs = ["ours, torch, stream", "ours, torch, clip", "ours, onnxruntime, stream"]
    programs += ["ours, onnxruntime, clip", "official", "transformers"]
    assert [row["program"] for row in found["rows"]] == programs
    assert all(row["frames_per_second"] > 0 and not row["failed"] for row in found["rows"])
    # The node answers, too, from image to masks.
    through_the_node = found["node"]["sam2.1_hiera_tiny"]
    assert through_the_node["frames_per_second"] > 0
    assert through_the_node["latency_median_ms"] > 0


def test_what_fails_is_told_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(network: Sam2Network, objects: int, images: Images) -> Steps:
        yield None
        raise RuntimeError("out of memory\nand more")

    monkeypatch.setitem(gpu_rows.BESIDE, "broken", broken)
    row = gpu_rows.Measurement(random_network("sam2_pico", 64), 2, Rates(1e9, 1e9), 1).beside("broken", 1)
    assert row.failed == "RuntimeError: out of memory"
    report = table([row], {**gpu.about(torch.device("cpu"), Rates(1e9, 1e9)), "growth": {}, "node": {}})
    assert "failed: RuntimeError: out of memory" in report
