"""`sam2-eval` as a user runs it: datasets of every layout, the tracker, an interrupted run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dataset_folders import (
    COUNT,
    HEIGHT,
    LATER,
    SIDE,
    WIDTH,
    davis,
    mose,
    results,
    sav,
    write_palettes,
    youtube_vos,
)
from PIL import Image
from random_checkpoint import write_random_checkpoint

from sam2_core.evaluation.mask_folders import PaletteMasks
from sam2_core.tools.eval import main


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("weights") / "pico.safetensors")


def scored_frames(out: Path, video: str = "a") -> dict[str, list[int]]:
    objects = json.loads((out / "videos" / f"{video}.json").read_text())["objects"]
    return {name: [int(frame) for frame in one["frames"]] for name, one in objects.items()}


@pytest.mark.parametrize(
    ("layout", "frames"),
    [
        (davis, {"1": [1, 2, 3, 4, 5, 6, 7], "2": [5, 6, 7]}),
        (mose, {"1": [1, 2, 3, 4, 5, 6, 7], "2": [5, 6, 7]}),
        (youtube_vos, {"1": [2, 4, 6], "2": [6]}),
        (sav, {"000": [2, 4, 6], "001": [6]}),
    ],
)
def test_every_layout_is_scored_between_the_given_and_the_last_mask(
    tmp_path: Path, layout: Callable[[Path], Path], frames: dict[str, list[int]]
) -> None:
    truth = layout(tmp_path / "set")
    given = [str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--predictions", str(truth), "--strict"]
    assert main(given) == 0
    assert scored_frames(tmp_path / "out") == frames
    found = results(tmp_path / "out")
    perfect = {"mean": 1.0, "recall": 1.0, "decay": 0.0}
    assert (found["jf"], found["j"], found["f"], found["problems"]) == (1.0, perfect, perfect, [])


def test_the_figures_of_shifted_squares(tmp_path: Path) -> None:
    """J follows from the areas; F is 1 as far as the tolerance goes: 0.008 of 80 pixels, rounded up to 1."""
    davis(tmp_path / "set", ("a", "b"))
    write_palettes(tmp_path / "found/a", shift=0)
    write_palettes(tmp_path / "found/b", shift=1)
    for end in (0, COUNT - 1):  # not scored, so it does not matter what stands there
        Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(tmp_path / f"found/b/{end:05}.png")
    out = tmp_path / "out"
    assert main([str(tmp_path / "set"), "--out", str(out), "--predictions", str(tmp_path / "found")]) == 0
    found = results(out)
    j = (SIDE - 1) / (SIDE + 1)
    assert found["videos"]["a"]["jf"] == 1
    for name in ("1", "2"):
        shifted = found["videos"]["b"]["objects"][name]
        assert shifted["j"] == pytest.approx({"mean": j, "recall": 1, "decay": 0})
        assert shifted["f"]["mean"] == 1
    assert found["jf"] == pytest.approx((1 + (j + 1) / 2) / 2)
    assert found["objects"] == 4
    report = (out / "report.md").read_text()
    assert f"| **all objects** | 4 | {found['jf']:.3f} |" in report
    assert f"| b | 2 | {(j + 1) / 2:.3f} | {j:.3f} | 1.000 |" in report
    assert report.index("![b](worst/b.png)") < report.index("![a](worst/a.png)"), "the worst one first"
    for name in ("a", "b"):
        assert Image.open(out / "worst" / f"{name}.png").width >= 960


@pytest.mark.parametrize("layout", [mose, sav])
def test_the_tracker_leaves_masks_that_give_the_same_figures_again(
    tmp_path: Path, checkpoint: Path, layout: Callable[[Path], Path]
) -> None:
    truth = layout(tmp_path / "set")
    out = tmp_path / "out"
    assert main([str(tmp_path / "set"), "--out", str(out), "--checkpoint", str(checkpoint)]) == 0
    tracked = results(out)
    again = ["--out", str(tmp_path / "again"), "--predictions", str(out / "predictions")]
    assert main([str(tmp_path / "set"), *again]) == 0
    scored = results(tmp_path / "again")
    assert {**scored, "tracker": tracked["tracker"], "backend": tracked["backend"]} == tracked
    assert "sam2_pico" in tracked["tracker"]

    written = sorted(path.relative_to(out / "predictions") for path in (out / "predictions").rglob("*.png"))
    if layout is mose:
        assert written == [Path(f"a/{index:05}.png") for index in range(COUNT)]
    else:
        assert written == [
            Path(f"a/{name}/{index:05}.png")
            for name, first in (("000", 0), ("001", LATER))
            for index in range(first, COUNT)
        ]
        first_masks = [truth / "a/000/00000.png", out / "predictions/a/000/00000.png"]
        given, kept = (np.asarray(Image.open(path)) > 0 for path in first_masks)
        assert np.count_nonzero(given & kept) / np.count_nonzero(given | kept) > 0.5, "what was prompted"


@pytest.mark.parametrize("layout", [mose, sav])
def test_an_object_too_small_for_the_network_is_not_found(
    tmp_path: Path, checkpoint: Path, layout: Callable[[Path], Path]
) -> None:
    truth = layout(tmp_path / "set")
    name = "1" if layout is mose else "000"
    first = truth / ("a/00000.png" if layout is mose else "a/000/00000.png")
    values = np.array(Image.open(first))
    values[10:, :] = 0
    values[:, 9:] = 0  # leaves two pixels of the first object, where a cell of the network's masks has 12
    Image.fromarray(values).save(first)
    given = ["--checkpoint", str(checkpoint), "--image-size", "64", "--strict"]
    assert main([str(tmp_path / "set"), "--out", str(tmp_path / "out"), *given]) == 0
    objects = json.loads((tmp_path / "out/videos/a.json").read_text())["objects"]
    assert len(objects) == 2
    assert set(objects[name]["j"]) == {0.0}


def test_where_objects_overlap_the_surer_one_has_the_pixel(tmp_path: Path) -> None:
    logits = {"2": np.array([[3, 3, -1, -2]], np.float32), "7": np.array([[1, 5, 2, -1]], np.float32)}
    masks = PaletteMasks(tmp_path / "masks")
    masks.write("00000", logits)
    assert np.asarray(Image.open(tmp_path / "masks/00000.png")).tolist() == [[2, 7, 7, 0]]


def test_void_pixels_are_no_object(tmp_path: Path) -> None:
    truth = davis(tmp_path / "set", ("a",))
    shutil.copytree(truth, tmp_path / "found")
    for path in truth.glob("a/*.png"):
        values = np.array(Image.open(path))
        values[:4] = 255
        Image.fromarray(values).save(path)
    out = tmp_path / "out"
    assert main([str(tmp_path / "set"), "--out", str(out), "--predictions", str(tmp_path / "found")]) == 0
    assert list(results(out)["videos"]["a"]["objects"]) == ["1", "2"]
    assert results(out)["jf"] == 1


def test_an_interrupted_run_goes_on_with_the_next_video(tmp_path: Path, checkpoint: Path) -> None:
    root = tmp_path / "set"
    davis(root, ("a", "b", "c"))
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert main([str(root), "--out", str(whole), "--checkpoint", str(checkpoint)]) == 0
    given = [str(root), "--out", str(out), "--checkpoint", str(checkpoint)]
    # One thread, as in this process: with more, sums round in another order.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sam2_core.tools.eval", *given]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        while process.poll() is None and not (out / "videos/a.json").exists():
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert process.returncode == 130, told
    assert "goes on from here" in told
    assert "Traceback" not in told
    kept = (out / "videos/a.json").stat().st_mtime_ns
    assert not (out / "videos/c.json").exists()
    assert main(given) == 0
    assert results(out) == results(whole)
    assert (out / "videos/a.json").stat().st_mtime_ns == kept


def test_the_figures_do_not_depend_on_the_number_of_workers(
    tmp_path: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "set"
    davis(root, ("a", "b", "c"))
    broken = root / "JPEGImages/480p/c/00006.jpg"
    broken.write_bytes(broken.read_bytes()[:-20])
    for count in ("1", "2"):
        given = [str(root), "--out", str(tmp_path / count), "--checkpoint", str(checkpoint)]
        assert main([*given, "--workers", count, "--threads", "1"]) == 0
        assert capfd.readouterr().err.count("the network runs in ") == 1, "workers do not repeat it"
    assert results(tmp_path / "2") == results(tmp_path / "1")
    assert results(tmp_path / "2")["problems"] == [f"{broken}: not a readable image"]
    for name in ("a", "b"):
        one, other = ((tmp_path / count / f"videos/{name}.json").read_text() for count in ("1", "2"))
        assert one == other


def test_workers_stop_when_interrupted_and_the_next_run_goes_on(tmp_path: Path, checkpoint: Path) -> None:
    root, out = tmp_path / "set", tmp_path / "out"
    davis(root, ("a", "b", "c", "d", "e"))
    given = [str(root), "--out", str(out), "--checkpoint", str(checkpoint)]
    command = [sys.executable, "-m", "sam2_core.tools.eval", *given, "--workers", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(out.glob("videos/*.json")):
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert process.returncode == 130, told
    assert "goes on from here" in told
    assert "Traceback" not in told
    done = len(list(out.glob("videos/*.json")))
    assert 1 <= done < 5
    kept = {path: path.stat().st_mtime_ns for path in out.glob("videos/*.json")}
    assert main(given) == 0
    assert list(results(out)["videos"]) == ["a", "b", "c", "d", "e"]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_visibility_of_an_object_that_hides_and_returns(tmp_path: Path) -> None:
    """Object 1 is hidden on frames 3 and 4; the masks to score leave it out until frame 6."""
    truth = davis(tmp_path / "set", ("a",))
    shutil.copytree(truth, tmp_path / "found")
    for root, hidden in ((truth, (3, 4)), (tmp_path / "found", (4, 5))):
        for index in hidden:
            values = np.array(Image.open(root / f"a/{index:05}.png"))
            values[values == 1] = 0
            Image.fromarray(values).save(root / f"a/{index:05}.png")
    out = tmp_path / "out"
    assert main([str(tmp_path / "set"), "--out", str(out), "--predictions", str(tmp_path / "found")]) == 0
    found = results(out)["videos"]["a"]["objects"]["1"]["visibility"]
    assert found == {
        "accuracy": 5 / 7,
        "precision": 4 / 5,
        "recall": 4 / 5,
        "hidden_frames": 2,
        "returns": 1,
        "found_again": 1.0,
        "frames_until_found": 1.0,
    }
    assert results(out)["visibility"]["accuracy"] == (5 + 3) / (7 + 3)
    report = (out / "report.md").read_text()
    assert "| a, object 1 | 2 | 71.4% | 80.0% | 80.0% | 1 | 100.0% | 1.0 |" in report


def test_the_occlusion_head_decides_what_the_tracker_calls_visible(tmp_path: Path, checkpoint: Path) -> None:
    mose(tmp_path / "set")
    out = tmp_path / "out"
    given = [str(tmp_path / "set"), "--out", str(out), "--checkpoint", str(checkpoint)]
    assert main(given) == 0
    scores = json.loads((out / "predictions/a/scores.json").read_text())
    objects = json.loads((out / "videos/a.json").read_text())["objects"]
    for name, one in objects.items():
        assert one["shown"] == [scores[name][frame] > 0 for frame in one["frames"]]
    scores["1"] = {frame: -value for frame, value in scores["1"].items()}
    (out / "predictions/a/scores.json").write_text(json.dumps(scores))
    again = ["--out", str(tmp_path / "again"), "--predictions", str(out / "predictions")]
    assert main([str(tmp_path / "set"), *again]) == 0
    other = json.loads((tmp_path / "again/videos/a.json").read_text())["objects"]
    assert other["1"]["shown"] == [not shown for shown in objects["1"]["shown"]]
    assert other["2"] == objects["2"]


def test_a_list_chooses_the_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = davis(tmp_path / "set", ("a", "b", "with a blank"))
    (tmp_path / "val.txt").write_text("b \n\nwith a blank\nnone\n")
    given = [str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--predictions", str(truth)]
    assert main([*given, "--videos", str(tmp_path / "val.txt")]) == 0
    assert list(results(tmp_path / "out")["videos"]) == ["b", "with a blank"]
    assert "480p/none: no such folder" in capsys.readouterr().err


def test_parts_of_the_list_add_up_in_one_folder(tmp_path: Path) -> None:
    truth = davis(tmp_path / "set")
    given = [str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--predictions", str(truth)]
    for video in ("a", "b"):
        (tmp_path / "part.txt").write_text(video)
        assert main([*given, "--videos", str(tmp_path / "part.txt")]) == 0
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/videos").iterdir()}
    assert main(given) == 0
    assert list(results(tmp_path / "out")["videos"]) == ["a", "b"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out/videos").iterdir()} == kept


@pytest.mark.parametrize("layout", [davis, sav])
def test_frames_are_taken_in_order_of_their_number(tmp_path: Path, layout: Callable[[Path], Path]) -> None:
    truth = layout(tmp_path / "set")
    for path in [*(tmp_path / "set").glob("**/*.jpg"), *truth.glob("**/*.png")]:
        path.rename(path.with_stem(str(int(path.stem) + 5)))
    given = [str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--predictions", str(truth), "--strict"]
    assert main(given) == 0
    for frames in scored_frames(tmp_path / "out").values():
        assert frames == sorted(frames)
        assert 4 + COUNT not in frames, "the last one is not scored"
