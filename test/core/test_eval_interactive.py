"""The simulated user of `sam2-eval --protocol offline` and `online`, on a tracker with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_folders import COUNT, LATER, labels, mose, results, write_palettes
from PIL import Image
from random_checkpoint import write_random_checkpoint

from sam2_core.evaluation.interactive import PAUSE_BELOW
from sam2_core.evaluation.metrics import mask_iou
from sam2_core.tools.eval import main

FRAMES, CLICKS = 3, 2


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    mose(root)
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("weights") / "pico.safetensors")


def interact(protocol: str, dataset: Path, checkpoint: Path, out: Path) -> Path:
    effort = ["--frames", str(FRAMES), "--clicks", str(CLICKS)]
    given = [str(dataset), "--out", str(out), "--protocol", protocol, "--threads", "1", *effort]
    assert main([*given, "--checkpoint", str(checkpoint)]) == 0
    return out


@pytest.fixture(scope="module")
def offline(dataset: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return interact("offline", dataset, checkpoint, tmp_path_factory.mktemp("offline") / "out")


@pytest.fixture(scope="module")
def online(dataset: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return interact("online", dataset, checkpoint, tmp_path_factory.mktemp("online") / "out")


@pytest.fixture(params=["offline", "online"])
def run(request: pytest.FixtureRequest) -> Path:
    out: Path = request.getfixturevalue(request.param)
    return out


def found(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "videos/a.json").read_text())["objects"]
    return content


def clicked(one: dict[str, Any]) -> list[int]:
    """The frames with clicks, in order of time."""
    return list(dict.fromkeys(click["frame"] for click in one["clicks"]))


def test_every_object_is_clicked_on_from_its_first_frame_on(run: Path) -> None:
    for name, first in (("1", 0), ("2", LATER)):
        one = found(run)[name]
        assert clicked(one)[0] == first
        assert 1 <= len(clicked(one)) <= FRAMES
        assert len(one["clicks"]) == CLICKS * len(clicked(one))
        start = one["clicks"][0]
        assert start["label"] == 1
        ys, xs = np.nonzero(labels(first) == int(name))
        assert abs(start["x"] - xs.mean()) <= 1
        assert abs(start["y"] - ys.mean()) <= 1


def test_all_annotated_frames_are_scored_in_every_round(run: Path) -> None:
    for name, first in (("1", 0), ("2", LATER)):
        rounds = found(run)[name]["rounds"]
        assert [one["at"] for one in rounds] == [list(range(first, COUNT))] * FRAMES


def test_the_masks_of_the_last_round_are_kept(run: Path) -> None:
    for name, one in found(run).items():
        last = one["rounds"][-1]
        for at, j in zip(last["at"], last["j"], strict=True):
            mask = np.asarray(Image.open(run / f"predictions/a/{name}/{at:05}.png")) > 0
            assert mask_iou(mask, labels(at) == int(name)) == pytest.approx(j)


def test_the_report_tells_jf_by_the_number_of_frames(run: Path) -> None:
    told = results(run)
    objects = found(run).values()
    for count in range(FRAMES):
        each = [np.mean(one["rounds"][count]["j"] + one["rounds"][count]["f"]) for one in objects]
        assert told["jf"][count] == pytest.approx(np.mean(each))
    assert told["mean"] == {name: pytest.approx(np.mean(told[name])) for name in ("jf", "j", "f")}
    report = (run / "report.md").read_text()
    assert f"| {FRAMES} | {told['jf'][-1]:.3f} | {told['j'][-1]:.3f} | {told['f'][-1]:.3f} |" in report
    assert "jf_by_frames.png" in report
    assert Image.open(run / "jf_by_frames.png").width > 500
    assert Image.open(run / "worst/a.png").width >= 960


def test_offline_the_worst_frame_is_next(offline: Path) -> None:
    for one in found(offline).values():
        frames = clicked(one)
        assert len(frames) == len(set(frames)) == FRAMES
        for count, frame in enumerate(frames[1:], start=1):
            before = one["rounds"][count - 1]
            left = {
                at: j for at, j in zip(before["at"], before["j"], strict=True) if at not in frames[:count]
            }
            assert left[frame] == min(left.values())


def test_online_the_user_corrects_where_it_goes_wrong_and_not_what_came_before(online: Path) -> None:
    for one in found(online).values():
        frames = clicked(one)
        assert frames == sorted(frames)
        last = one["rounds"][-1]
        for count, frame in enumerate(frames[1:], start=1):
            fewer = one["rounds"][count - 1]
            place = fewer["at"].index(frame)
            assert fewer["j"][place] < PAUSE_BELOW
            assert fewer["j"][:place] == last["j"][:place]
        if len(frames) < FRAMES:
            assert min(last["j"][1:]) >= PAUSE_BELOW, "nothing was left to correct"


def test_masks_of_another_tracker_cannot_be_clicked_on(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_palettes(tmp_path / "masks/a")
    given = [str(dataset), "--out", str(tmp_path / "out"), "--predictions", str(tmp_path / "masks")]
    with pytest.raises(SystemExit):
        main([*given, "--protocol", "online"])
    assert "masks cannot answer to clicks" in capsys.readouterr().err


def test_another_effort_is_another_run(
    run: Path, dataset: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = ["--protocol", results(run)["protocol"], "--frames", "2"]
    given = [str(dataset), "--out", str(run), *protocol, "--checkpoint", str(checkpoint)]
    assert main(given) == 1
    assert "another frames with clicks" in capsys.readouterr().err
