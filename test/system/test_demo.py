"""The demo from its command line to its results: real processes, the built-in camera, a film."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sam2_core.drawing import object_colour
from sam2_core.model import CONFIGS, Sam2Network
from sam2_core.video import FrameReader, VideoWriter
from sam2_ros.demo import main
from sam2_ros.processes import isolated_environment

PATIENCE = 180.0  # [s]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights: what the demo does with masks does not depend on how good they are."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "untrained.pt"
    torch.save({"model": Sam2Network(CONFIGS["sam2_pico"]).state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bright square that crosses a dark floor in 5 s."""
    path = tmp_path_factory.mktemp("film") / "square.mp4"
    with VideoWriter(path, rate=30) as writer:
        for index in range(150):
            frame = np.full((120, 160, 3), 40, np.uint8)
            frame[40:80, index // 2 : 40 + index // 2] = 220
            writer.write(frame, index * 33_333_333)
    return path


def demo(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        # Exporting for a faster backend takes a minute.
        [sys.executable, "-m", "sam2_ros.demo", "--backend", "torch", *map(str, arguments)],
        env=isolated_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(*arguments: object) -> tuple[int, str, str]:
    process = demo(*arguments)
    output, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, output, errors


def children(process: subprocess.Popen[str]) -> dict[str, int]:
    """Process ids of the programs that the demo runs, by module."""
    found = {}
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        if "-m" in words:
            found[words[words.index("-m") + 1]] = int(pid)
    return found


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def filming(checkpoint: Path, film: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo in the middle of its work, with a recording that grows."""
    out = tmp_path / "out"
    process = demo("--video", film, "--click", "40,60", "--checkpoint", checkpoint, "--out", out)
    index = out / "recording" / "frames.jsonl"
    wait_for(lambda: (index.exists() and index.stat().st_size > 0) or process.poll() is not None)
    yield process
    process.kill()
    process.communicate()


def test_the_built_in_camera_ends_in_results_that_agree(checkpoint: Path, tmp_path: Path) -> None:
    status, output, errors = finished(
        "--frames", 120, "--objects", 2, "--checkpoint", checkpoint, "--out", tmp_path
    )
    assert status == 0, errors
    report = json.loads((tmp_path / "report.json").read_text())
    frames = report["frames"]
    assert frames["published"] == 120
    assert frames["published"] == frames["tracked"] + sum(frames["dropped"].values())
    assert frames["received"] == frames["published"] - frames["dropped"]["not received"]
    assert min(frames["dropped"].values()) >= 0
    assert 0 < frames["in_video"] <= frames["tracked"]
    assert 0 < report["latency_ms"]["median"] <= report["latency_ms"]["p95"]
    assert all(value > 0 for value in report["memory_mb"].values())

    assert [(item["id"], item["label"]) for item in report["objects"]] == [(1, "mug"), (2, "box")]
    for item in report["objects"]:
        assert 0 <= item["frames_visible"] <= item["frames"] <= frames["tracked"]
        assert 0.0 <= item["mean_iou"] <= 1.0
        assert 0.0 <= item["visibility_right"] <= 1.0
    mean = sum(item["mean_iou"] for item in report["objects"]) / 2
    assert report["mean_iou"] == pytest.approx(mean, abs=1e-3)
    figures = f"{frames['tracked']} frames, mean IoU {report['mean_iou']:.2f}, {report['fps']:.1f} fps"
    assert output.splitlines()[-1] == f"demo: 2 objects, {figures}"

    pictures = list(FrameReader(tmp_path / "overlay.mp4"))
    assert len(pictures) == frames["in_video"]
    assert pictures[0].image.shape == (480, 640, 3)
    sheet = np.asarray(Image.open(tmp_path / "overview.png").convert("RGB"))
    for object_id in (1, 2):
        assert (sheet == object_colour(object_id)).all(axis=2).sum() > 100
    assert not (tmp_path / "recording").exists(), "the raw recording is gone"


def test_a_film_with_clicks_of_the_users(checkpoint: Path, film: Path, tmp_path: Path) -> None:
    clicks = ("--click", "30,60,square", "--click", "40,60,square", "--click", "150,10,floor")
    status, output, errors = finished("--video", film, *clicks, "--checkpoint", checkpoint, "--out", tmp_path)
    assert status == 0, errors
    report = json.loads((tmp_path / "report.json").read_text())
    assert [(item["id"], item["label"]) for item in report["objects"]] == [(1, "square"), (2, "floor")]
    assert report["frames"]["published"] == 150
    assert report["mean_iou"] is None
    assert re.fullmatch(r"demo: 2 objects, \d+ frames, mean IoU n/a, \d+\.\d fps", output.splitlines()[-1])


def test_a_film_without_clicks_is_clicked_by_the_network(
    checkpoint: Path, film: Path, tmp_path: Path
) -> None:
    status, output, errors = finished("--video", film, "--checkpoint", checkpoint, "--out", tmp_path)
    assert status == 0, errors
    assert re.fullmatch(
        r"demo: [123] objects, \d+ frames, mean IoU n/a, \d+\.\d fps", output.splitlines()[-1]
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--video", "missing.mp4"), "error: missing.mp4: no such file, folder or device"),
        (("--camera", "/dev/video99"), "error: /dev/video99: no such file, folder or device"),
        (("--checkpoint", "missing.pt"), "error: --checkpoint missing.pt: no such file"),
        (("--out", "/dev/null"), "error: --out /dev/null: File exists"),
        (("--objects", "9"), "error: --objects 9: the built-in camera has 1 to 6"),
        (("--frames", "0"), "argument --frames: 0 is not allowed"),
        (("--click", "5,5"), "--click needs --video or --camera"),
        (("--video", "a.mp4", "--click", "5;5"), "argument --click: 5;5 is not X,Y or X,Y,LABEL"),
    ],
)
def test_a_wrong_option_is_one_clear_line(
    arguments: tuple[str, ...],
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        status: object = main(arguments)
    except SystemExit as leaving:  # argparse's own way
        status = leaving.code
    assert status
    output, errors = capsys.readouterr()
    assert output == ""
    assert reason in errors.splitlines()[-1]


def test_a_tracker_that_cannot_start_ends_the_demo_with_its_reason(film: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"these are no weights")
    status, _, errors = finished("--video", film, "--checkpoint", broken, "--out", tmp_path / "out")
    assert status == 1
    assert "error: the tracker died (exit status 1)" in errors
    assert "broken.pt" in errors.split("error: the tracker died")[1]
    assert "Traceback" not in errors


def test_a_process_that_dies_ends_the_demo(filming: subprocess.Popen[str]) -> None:
    programs = children(filming)
    os.kill(programs["sam2_ros.node"], signal.SIGKILL)
    _, errors = filming.communicate(timeout=PATIENCE)
    assert filming.returncode == 1
    assert "error: the tracker died (killed by SIGKILL)" in errors
    assert not any(Path(f"/proc/{pid}").exists() for pid in programs.values())


def test_ctrl_c_ends_every_process(filming: subprocess.Popen[str]) -> None:
    programs = children(filming)
    assert set(programs) >= {"sam2_ros.node", "sam2_ros.recorder", "sam2_ros.video_publisher"}
    filming.send_signal(signal.SIGINT)
    _, errors = filming.communicate(timeout=PATIENCE)
    assert filming.returncode == 130
    assert errors.splitlines()[-1] == "interrupted; every process has ended"
    assert not any(Path(f"/proc/{pid}").exists() for pid in programs.values())
