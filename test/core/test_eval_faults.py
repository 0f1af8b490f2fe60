"""What `sam2-eval` says to datasets and predictions with faults."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dataset_folders import HEIGHT, WIDTH, davis, labels, results, sav, write_palettes
from PIL import Image
from random_checkpoint import write_random_checkpoint

from sam2_core.tools.eval import main


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("weights") / "pico.safetensors")


def without_image(root: Path) -> None:
    (root / "JPEGImages/480p/b/00003.jpg").unlink()


def damaged_image(root: Path) -> None:
    (root / "JPEGImages/480p/b/00003.jpg").write_bytes(b"nothing")


def damaged_mask(root: Path) -> None:
    path = root / "Annotations/480p/b/00003.png"
    path.write_bytes(path.read_bytes()[:60])


def mask_of_another_size(root: Path) -> None:
    Image.fromarray(labels(3)[:, :32]).save(root / "Annotations/480p/b/00003.png")


def mask_in_colour(root: Path) -> None:
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(root / "Annotations/480p/b/00003.png")


def unknown_video(root: Path) -> None:
    shutil.rmtree(root / "JPEGImages/480p/b")


def mask_of_0_and_255(root: Path) -> None:
    Image.fromarray((labels(3) > 0).astype(np.uint8) * 255).save(root / "Annotations/480p/b/00003.png")


def no_objects(root: Path) -> None:
    for path in (root / "Annotations/480p/b").iterdir():
        Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_image, "480p/b: annotates frame 00003, which is not in "),
        (damaged_image, "JPEGImages/480p/b/00003.jpg: is not a readable image"),
        (damaged_mask, "Annotations/480p/b/00003.png: is not a readable image"),
        (mask_of_another_size, "b/00003.png: is 32 x 48; allowed: the frame's size, 64 x 48"),
        (mask_in_colour, "b/00003.png: is no mask: its mode is RGB; allowed: P, L, 1"),
        (
            mask_of_0_and_255,
            "b/00003.png: has no value but 0 and 255, which is no object; allowed: the object's",
        ),
        (unknown_video, "JPEGImages/480p/b: no such folder"),
        (no_objects, "Annotations/480p/b: no mask shows an object"),
    ],
)
def test_a_faulty_video_is_told_of_and_left_out_or_fatal(
    tmp_path: Path, damage: Callable[[Path], None], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "set", tmp_path / "out"
    truth = davis(root)
    shutil.copytree(truth, tmp_path / "found")
    damage(root)
    given = [str(root), "--out", str(out), "--predictions", str(tmp_path / "found")]
    assert main([*given, "--strict"]) == 1
    assert message in capsys.readouterr().err
    assert not (out / "results.json").exists()
    assert main(given) == 0
    told = capsys.readouterr()
    assert message in told.err
    assert "left out because of faults: 1 of 2" in told.out
    found = results(out)
    assert list(found["videos"]) == ["a"]
    assert found["left out because of faults"] == 1
    assert "- left out because of faults: 1\n" in (out / "report.md").read_text()
    assert message in found["problems"][0]
    assert found["problems"][0] in (out / "report.md").read_text()


def test_masks_of_0_and_255_to_score_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    davis(tmp_path / "set", ("a",))
    write_palettes(tmp_path / "found/a")
    for path in (tmp_path / "found/a").iterdir():
        Image.fromarray((np.asarray(Image.open(path)) > 0).astype(np.uint8) * 255).save(path)
    given = [str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--predictions", str(tmp_path / "found")]
    assert main(given) == 1
    assert "found/a/00001.png: has no value but 0 and 255" in error(capsys)


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "@eaDir"])
def test_folders_that_tools_hide_are_no_masks_and_no_videos(tmp_path: Path, name: str) -> None:
    root = tmp_path / "set"
    truth = davis(root, ("a",))
    shutil.copytree(truth, tmp_path / "found")
    for folder in (
        "JPEGImages",
        "JPEGImages/480p",
        "JPEGImages/480p/a",
        "Annotations/480p",
        "Annotations/480p/a",
    ):
        (root / folder / name).mkdir()
    given = [str(root), "--out", str(tmp_path / "out"), "--predictions", str(tmp_path / "found"), "--strict"]
    assert main(given) == 0
    found = results(tmp_path / "out")
    assert (found["jf"], list(found["videos"]["a"]["objects"])) == (1, ["1", "2"])


def test_an_empty_object_is_left_out_alone(tmp_path: Path) -> None:
    truth = sav(tmp_path / "set")
    for path in (truth / "a/001").iterdir():
        Image.fromarray(np.zeros((HEIGHT, WIDTH), bool)).save(path)
    out = tmp_path / "out"
    for _ in range(2):  # the second time from what was kept
        assert main([str(tmp_path / "set"), "--out", str(out), "--predictions", str(truth)]) == 0
        assert list(results(out)["videos"]["a"]["objects"]) == ["000"]
        assert results(out)["problems"] == [f"{truth / 'a/001'}: no mask shows the object"]


def break_off(image: Path) -> None:
    """Leaves an image with a header that says nothing of what is missing."""
    image.write_bytes(image.read_bytes()[:-20])


def test_a_frame_that_breaks_off_leaves_out_its_video(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "set", tmp_path / "out"
    davis(root)
    broken = root / "JPEGImages/480p/b/00006.jpg"
    whole = broken.read_bytes()
    break_off(broken)
    given = [str(root), "--out", str(out), "--checkpoint", str(checkpoint)]
    assert main(given) == 0
    assert f"{broken}: not a readable image" in capsys.readouterr().err
    assert list(results(out)["videos"]) == ["a"]
    assert results(out)["left out because of faults"] == 1
    assert main([*given, "--strict"]) == 1
    assert f"--strict does not allow these faults:\n{broken}: not a" in capsys.readouterr().err

    kept = (out / "videos/a.json").stat().st_mtime_ns
    broken.write_bytes(whole)
    assert main(given) == 0
    assert list(results(out)["videos"]) == ["a", "b"]
    assert results(out)["problems"] == []
    assert (out / "videos/a.json").stat().st_mtime_ns == kept, "what was done is not done again"


def test_masks_are_scored_without_a_frame_to_draw_them_on(tmp_path: Path) -> None:
    truth = davis(tmp_path / "set")
    for path in (tmp_path / "set/JPEGImages/480p/b").iterdir():
        break_off(path)
    out = tmp_path / "out"
    assert main([str(tmp_path / "set"), "--out", str(out), "--predictions", str(truth)]) == 0
    assert list(results(out)["videos"]) == ["a", "b"]
    assert [path.name for path in (out / "worst").iterdir()] == ["a.png"]
    (problem,) = results(out)["problems"]
    assert "not a readable image; so there is no picture of b" in problem


def test_missing_predictions_leave_no_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    davis(tmp_path / "set", ("a", "b", "c"))
    for name in ("a", "b"):
        write_palettes(tmp_path / "found" / name)
    (tmp_path / "found/b/00004.png").unlink()
    given = [str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--predictions", str(tmp_path / "found")]
    for more in ([], ["--strict"]):
        assert main([*given, *more]) == 1
        told = error(capsys)
        assert f"{tmp_path / 'found/b/00004.png'}: is missing" in told
        assert f"{tmp_path / 'found/c/00001.png'}: is missing" in told
        assert not (tmp_path / "out/results.json").exists()
    for name in ("b", "c"):
        write_palettes(tmp_path / "again" / name)
        shutil.copytree(tmp_path / "again" / name, tmp_path / "found" / name, dirs_exist_ok=True)
    assert main(given) == 0
    found = results(tmp_path / "out")
    assert (list(found["videos"]), found["left out because of faults"]) == (["a", "b", "c"], 0)


@pytest.mark.parametrize("content", ["[1, 2]", '{"1": 0.9}', '{"1": {"00001": "x"}}', "nothing"])
def test_a_foreign_file_of_scores_is_named(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    davis(tmp_path / "set", ("a",))
    write_palettes(tmp_path / "found/a")
    (tmp_path / "found/a/scores.json").write_text(content)
    given = [str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--predictions", str(tmp_path / "found")]
    assert main(given) == 1
    assert f"{tmp_path / 'found/a/scores.json'}: is no file of object scores; allowed" in error(capsys)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfea", "is no text; allowed: names in UTF-8, one a line"),
        (b" \n\n", "has no name; allowed: one or more, one a line"),
    ],
)
def test_a_list_without_names_is_an_error(
    tmp_path: Path, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, names = davis(tmp_path / "set", ("a",)), tmp_path / "names.txt"
    names.write_bytes(content)
    given = [str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--predictions", str(truth)]
    assert main([*given, "--videos", str(names)]) == 1
    assert f"{names}: {message}" in error(capsys)


def test_what_cannot_be_evaluated_is_an_error(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = davis(tmp_path / "set", ("a",))
    out = ["--out", str(tmp_path / "out")]
    assert main([str(tmp_path), *out, "--predictions", str(truth)]) == 1
    assert "is no dataset; allowed: a folder with JPEGImages_24fps and Annotations_6fps" in error(capsys)
    assert main([str(tmp_path / "set"), *out, "--predictions", str(truth)]) == 0
    assert main([str(tmp_path / "set"), *out, "--checkpoint", str(checkpoint)]) == 1
    assert "holds a run with another tracker and another backend; allowed: another folder" in error(capsys)
    for path in sorted(truth.glob("a/*.png"))[2:]:
        path.unlink()
    assert main([str(tmp_path / "set"), *out, "--predictions", str(truth), "--restart"]) == 1
    told = error(capsys)
    assert "object 1 has no mask to score; allowed: one between the first and the last" in told
    assert "there is no object to score" in told
    with pytest.raises(SystemExit):
        main([str(tmp_path / "set"), *out, "--predictions", str(truth), "--checkpoint", str(checkpoint)])
    assert "leave out --model and --checkpoint" in error(capsys)


def test_davis_is_read_at_480p_or_at_the_only_resolution(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "set"
    truth = davis(root, ("a",))
    shutil.copytree(truth, tmp_path / "found")
    given = [str(root), "--out", str(tmp_path / "out"), "--predictions", str(tmp_path / "found"), "--restart"]
    shutil.copytree(root / "JPEGImages/480p/a", root / "JPEGImages/1080p/a")
    assert main(given) == 0, "the other one is not looked at"
    shutil.rmtree(root / "JPEGImages/480p")
    assert main(given) == 1
    assert "Annotations/1080p: no such folder" in error(capsys)
    (root / "Annotations/480p").rename(root / "Annotations/1080p")
    assert main(given) == 0
    shutil.copytree(root / "JPEGImages/1080p", root / "JPEGImages/720p")
    assert main(given) == 1
    assert "several resolutions, 1080p, 720p; allowed: one, or one named 480p" in error(capsys)


def error(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err
