"""`sam2-eval --backend`: the figures come from the backend that was asked for, and the report says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from dataset_folders import davis, results
from random_checkpoint import write_random_checkpoint

from sam2_core.backends.export import export_stages
from sam2_core.backends.programs import Bucket
from sam2_core.model import load_network, state_fingerprint
from sam2_core.tools.eval import main

SIZE = 64


def test_the_backend_is_told_and_makes_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    davis(tmp_path / "set", ("a",))
    checkpoint, exported = write_random_checkpoint(tmp_path / "pico.safetensors"), tmp_path / "exported"
    network = load_network("", checkpoint, SIZE)
    exported.mkdir()
    export_stages(
        network, state_fingerprint(network.state_dict()), exported, "fp32", [Bucket("encode_image")]
    )
    given = [str(tmp_path / "set"), "--checkpoint", str(checkpoint), "--image-size", str(SIZE)]
    onnxruntime = ["--backend", "onnxruntime", "--exported", str(exported)]

    out = tmp_path / "onnxruntime"
    assert main([*given, "--out", str(out), *onnxruntime]) == 0
    assert "the network runs in ONNX Runtime " in capsys.readouterr().err
    assert main([*given, "--out", str(tmp_path / "torch"), "--backend", "torch"]) == 0
    found, other = results(out), results(tmp_path / "torch")
    assert found["backend"].startswith("ONNX Runtime ")
    assert other["backend"].startswith("torch ")
    assert found["jf"] == pytest.approx(other["jf"], abs=0.02)
    assert f"- backend: {found['backend']}\n" in (out / "report.md").read_text()

    assert main([*given, "--out", str(out), "--backend", "torch"]) == 1
    assert f"{out} holds a run with another backend; allowed: another folder" in capsys.readouterr().err
