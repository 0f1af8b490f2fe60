"""`sam2-eval` in a folder that holds results: what has changed is done again, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dataset_folders import HEIGHT, WIDTH, davis, mose, results, sav, write_palettes
from PIL import Image
from random_checkpoint import write_random_checkpoint
from test_eval_images import coco, sa1b

from sam2_core.tools.eval import main


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("weights") / "pico.safetensors")


def blacken(folder: Path) -> None:
    for path in folder.glob("**/*.png"):
        Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(path)


@pytest.mark.parametrize("layout", [davis, sav])
def test_changed_masks_of_another_tracker_are_scored_anew(
    tmp_path: Path, layout: Callable[[Path], Path]
) -> None:
    truth = layout(tmp_path / "set")
    shutil.copytree(truth, tmp_path / "found")
    out = tmp_path / "out"
    given = [str(tmp_path / "set"), "--out", str(out), "--predictions", str(tmp_path / "found")]
    assert main(given) == 0
    kept = {path: path.stat().st_mtime_ns for path in (out / "videos").iterdir()}
    assert main(given) == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "videos").iterdir()} == kept
    blacken(tmp_path / "found/a")
    assert main(given) == 0
    assert results(out)["videos"]["a"]["jf"] == 0
    others = [path for path in kept if path.stem != "a"]
    assert [path.stat().st_mtime_ns for path in others] == [kept[path] for path in others]


def test_a_video_with_other_true_masks_is_tracked_anew(tmp_path: Path, checkpoint: Path) -> None:
    truth = mose(tmp_path / "set")
    given = [str(tmp_path / "set"), "--checkpoint", str(checkpoint)]
    assert main([*given, "--out", str(tmp_path / "out")]) == 0
    shutil.rmtree(truth / "a")
    write_palettes(truth / "a", shift=6)
    for out in ("out", "new"):
        assert main([*given, "--out", str(tmp_path / out)]) == 0
    assert results(tmp_path / "out") == results(tmp_path / "new")
    for path in (tmp_path / "new/predictions/a").iterdir():
        assert (tmp_path / "out/predictions/a" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("form", [coco, sa1b])
def test_an_image_with_other_annotations_is_segmented_anew(
    tmp_path: Path, checkpoint: Path, form: Callable[[Path], Path]
) -> None:
    dataset = form(tmp_path / "set")
    given = [str(dataset), "--protocol", "images", "--checkpoint", str(checkpoint)]
    assert main([*given, "--out", str(tmp_path / "out")]) == 0
    (file,) = dataset.glob("**/*.json")
    content = json.loads(file.read_text())
    content["annotations"][1]["segmentation"] = [[4, 4, 30, 4, 30, 30]]
    file.write_text(json.dumps(content))
    for out in ("out", "new"):
        assert main([*given, "--out", str(tmp_path / out)]) == 0
    assert results(tmp_path / "out") == results(tmp_path / "new")


def test_what_has_become_unusable_is_not_reported_as_it_was(tmp_path: Path) -> None:
    truth = davis(tmp_path / "set")
    shutil.copytree(truth, tmp_path / "found")
    out = tmp_path / "out"
    given = [str(tmp_path / "set"), "--out", str(out), "--predictions", str(tmp_path / "found")]
    assert main(given) == 0
    (truth / "a/00003.png").write_bytes(b"nothing")
    assert main(given) == 0
    assert list(results(out)["videos"]) == ["b"]
