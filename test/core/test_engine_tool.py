"""`sam2-engine`, as far as it goes without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_stand_in import DEVICE

from sam2_core.backends.engine_cache import EngineCache, EngineKey
from sam2_core.tools import engine


@pytest.mark.parametrize("command", ["build", "check"])
def test_without_a_gpu_it_says_so(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert engine.main([command, "--engines", str(tmp_path / "engines")]) == 1
    told = capsys.readouterr()
    assert told.err == "sam2-engine: PyTorch finds no NVIDIA GPU\n"
    assert not (tmp_path / "engines").exists()


def test_list_tells_what_there_is_and_what_was_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = EngineCache(tmp_path)
    key = EngineKey(DEVICE, "sam2_pico", "encode_image", "bf16", "graph")
    cache.accept(cache.store(key, bytes(2**20), 12.0), 0.0123)
    cache.refuse(EngineKey(DEVICE, "sam2_pico", "encode_image", "fp16-mixed", "graph"), "it holds NaN")
    assert engine.main(["list", "--engines", str(tmp_path)]) == 0
    passed, refused, count = capsys.readouterr().out.splitlines()
    assert "sam2_pico encode_image bf16  passed, off by 1.23%; 1 MiB, built in 12 s" in passed
    assert str(DEVICE) in passed
    assert "sam2_pico encode_image fp16-mixed  refused: it holds NaN" in refused
    assert count == f"2 engines in {tmp_path}"


def test_list_of_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert engine.main(["list", "--engines", str(tmp_path / "nothing")]) == 0
    assert capsys.readouterr().out.startswith("0 engines in")


@pytest.mark.parametrize(
    ("option", "allowed"),
    [
        (["--objects", "0"], "allowed: numbers from 1 on"),
        (["--objects", "1,two"], "allowed: numbers from 1 on"),
        (["--workspace", "-1"], "allowed: MiB, 0 for no limit"),
        (["--precision", "int8"], "fp16-mixed"),
    ],
)
def test_a_bad_option_is_told(option: list[str], allowed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_status:
        engine.main(["build", *option])
    assert exit_status.value.code == 2
    assert allowed in capsys.readouterr().err


def test_a_missing_checkpoint_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert engine.main(["build", "--checkpoint", "nothing.pt"]) == 1
    assert "nothing.pt: there is no such file" in capsys.readouterr().err
