"""`sam2-image` as its users call it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from interrupts import files_up_to
from safetensors.torch import save_file

from sam2_core.masks import decode_rle
from sam2_core.model import CONFIGS, Sam2Network
from sam2_core.tools.image import main

HEIGHT, WIDTH = 90, 130
ANYTHING = ["--automatic", "--points-per-side", "3", "--predicted-iou", "0", "--stability", "0"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "pico.safetensors"
    save_file(Sam2Network(CONFIGS["sam2_pico"]).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "noise.png"
    cv2.imwrite(str(path), np.random.default_rng(2).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
    return path


def run(picture: Path, checkpoint: Path, out: Path, *arguments: str) -> list[dict[str, Any]]:
    """Runs the tool, checks that its outputs agree, and returns what it tells about the masks."""
    assert main([str(picture), "--checkpoint", str(checkpoint), "--out", str(out), *arguments]) == 0
    content = json.loads((out / "masks.json").read_text())
    assert content["image"] == {"file_name": "noise.png", "width": WIDTH, "height": HEIGHT}
    for one in content["annotations"]:
        mask = cv2.imread(str(out / one["file"]), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(mask)) <= {0, 255}
        assert np.array_equal(decode_rle(one["segmentation"]["counts"], HEIGHT, WIDTH), mask == 255)
        assert one["area"] == (mask == 255).sum()
    overlay = cv2.imread(str(out / "overlay.png"))
    assert overlay.shape == (HEIGHT, WIDTH, 3)
    assert not np.array_equal(overlay, cv2.imread(str(picture)))
    assert len(list(out.iterdir())) == len(content["annotations"]) + 2
    return content["annotations"]


def test_points_and_boxes_are_objects_of_their_own(picture: Path, checkpoint: Path, tmp_path: Path) -> None:
    prompts = ["--points", "30,40", "60,50,0", "--points", "100,20", "--box", "5,5,60,80"]
    told = run(picture, checkpoint, tmp_path / "new" / "out", *prompts)
    assert [one["object"] for one in told] == [1, 2, 3]


def test_candidates_of_a_point_in_a_box(picture: Path, checkpoint: Path, tmp_path: Path) -> None:
    prompts = ["--points", "30,40", "--box", "5,5,60,80", "--together", "--candidates"]
    told = run(picture, checkpoint, tmp_path, *prompts)
    assert [(one["object"], one["candidate"]) for one in told] == [(1, 1), (1, 2), (1, 3)]
    qualities = [one["predicted_iou"] for one in told]
    assert qualities == sorted(qualities, reverse=True)


def test_automatic(picture: Path, checkpoint: Path, tmp_path: Path) -> None:
    told = run(picture, checkpoint, tmp_path / "all", *ANYTHING)
    least = max(one["area"] for one in told)
    large = run(picture, checkpoint, tmp_path / "large", *ANYTHING, "--min-area", str(least))
    assert [one["area"] for one in large] == [least]


def test_where_nothing_passes_it_is_told_why(
    picture: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = ["--automatic", "--points-per-side", "3", "--predicted-iou", "1", "--stability", "0.9"]
    assert main([str(picture), "--checkpoint", str(checkpoint), "--out", str(tmp_path), *strict]) == 0
    told = capsys.readouterr().out
    assert "0 masks" in told
    reached = re.search(
        r"of 27 .* IoU of ([\d.]+) \(predicted_iou is 1\) .* of ([\d.]+) \(stability is 0.9\)", told
    )
    assert reached, told
    lower = ["--predicted-iou", str(float(reached[1]) - 0.02), "--stability", "0"]
    assert run(picture, checkpoint, tmp_path / "lower", *strict[:3], *lower)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "nothing to do; allowed: --points and --box, or --automatic"),
        (["--automatic", "--points", "1,2"], "--automatic takes no prompts; allowed: --points and --box, or"),
        (["--points", "500,2"], "point (500, 2); allowed: 0 <= x <= 130"),
        (["--box", "9,9,3,3"], "allowed: 0 <= x0 < x1"),
        (["--points", "1,2", "--together"], "allowed: one of each"),
        (["--automatic", "--points-per-side", "0"], "points_per_side is 0; allowed: 1 or more"),
        (["--points", "1,2", "--image-size", "100"], "image_size 100"),
        (["--points", "1,2", "--model", "sam3"], "model 'sam3' is unknown; allowed: sam2_pico"),
        (["--points", "1,2", "--checkpoint", "nowhere.pt"], "nowhere.pt: there is no such file"),
    ],
)
def test_mistakes_are_told(
    picture: Path,
    checkpoint: Path,
    tmp_path: Path,
    arguments: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [str(picture), "--out", str(tmp_path / "out"), "--checkpoint", str(checkpoint), *arguments]
    assert main(given) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_that_cannot_grow_is_told_and_leaves_no_half(picture: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sam2_core.tools.image", str(picture), "--points", "30,40"]
    # Enough for the mask, not for the overlay of noise.
    run = subprocess.run(
        [*command, "--out", str(tmp_path)], preexec_fn=files_up_to(4096), capture_output=True, text=True
    )
    assert run.returncode == 1
    assert "cannot read or write" in run.stderr
    assert str(tmp_path) in run.stderr
    assert "Traceback" not in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mask_001.png"]
    assert cv2.imread(str(tmp_path / "mask_001.png")).shape == (HEIGHT, WIDTH, 3)


def test_unreadable_images_and_used_folders_are_refused(
    picture: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = ["--points", "1,2", "--checkpoint", str(checkpoint), "--out"]
    assert main([__file__, *rest, str(tmp_path / "out")]) == 1
    assert "not a readable image" in capsys.readouterr().err
    assert main([str(tmp_path / "missing.png"), *rest, str(tmp_path / "out")]) == 1
    assert "missing.png" in capsys.readouterr().err
    assert main([str(picture), *rest, str(picture.parent)]) == 1
    assert "is not empty" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(picture), "--points", "here", "--out", str(tmp_path / "out")])
    assert "'here'; allowed: numbers" in capsys.readouterr().err
