"""`sam2-video` as a user runs it: results, mistakes, damage, a full disk, interruption."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import av
import numpy as np
import pytest
import torch
from interrupts import files_up_to, interrupt
from PIL import Image
from pycocotools import mask as coco_mask
from random_checkpoint import write_random_checkpoint

from sam2_core.tools.video import main
from sam2_core.video import FrameReader, VideoWriter

HEIGHT, WIDTH, COUNT = 96, 128, 30
PROMPTS = """\
prompts:
- {object: 1, label: square, frame: 4, points: [[64, 48], [5, 5]], labels: [1, 0]}
- {object: 3, label: box, time: 0.36, box: [20, 20, 60, 60]}
- {object: 1, frame: 10, points: [[70, 50]]}
"""


def picture(index: int) -> np.ndarray:
    image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    image += np.random.default_rng(0).integers(0, 40, image.shape).astype(np.uint8)
    image[30:66, 40 + 2 * index : 76 + 2 * index] = (220, 90, 40)
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video, prompts and weights."""
    folder = tmp_path_factory.mktemp("video")
    with VideoWriter(folder / "clip.mp4", rate=25) as writer:
        for index in range(COUNT):
            writer.write(picture(index), index * 40_000_000)
    (folder / "prompts.yaml").write_text(PROMPTS)
    write_random_checkpoint(folder / "pico.safetensors")
    return folder


def arguments(folder: Path, out: Path, video: str = "clip.mp4", prompts: str = "prompts.yaml") -> list[str]:
    return [
        str(folder / video),
        *("--prompts", str(folder / prompts)),
        *("--checkpoint", str(folder / "pico.safetensors")),
        *("--out", str(out)),
    ]


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """The results of an undisturbed run."""
    assert main(arguments(folder, folder / "whole")) == 0
    return folder / "whole"


def tracks(out: Path) -> list[str]:
    return (out / "tracks.jsonl").read_text().splitlines()


def test_every_object_is_segmented_on_every_frame(whole: Path) -> None:
    result = json.loads((whole / "masks.json").read_text())
    assert [image["id"] for image in result["images"]] == list(range(COUNT))
    assert result["categories"] == [{"id": 1, "name": "square"}, {"id": 3, "name": "box"}]
    found = {(one["image_id"], one["category_id"]): one for one in result["annotations"]}
    assert len(found) == len(result["annotations"]) == 2 * COUNT
    for (frame, _), one in found.items():
        mask = coco_mask.decode(one["segmentation"])
        assert mask.shape == (HEIGHT, WIDTH)
        assert mask.sum() == one["area"]
        assert coco_mask.toBbox(one["segmentation"]).tolist() == one["bbox"]
        assert result["images"][frame]["time"] == pytest.approx(frame / 25, abs=1e-3)


def test_the_images_have_davis_form_and_the_same_masks(whole: Path) -> None:
    annotations = json.loads((whole / "masks.json").read_text())["annotations"]
    for frame in range(COUNT):
        image = Image.open(whole / "masks" / f"{frame:05}.png")
        assert image.mode == "P"
        expected = np.zeros((HEIGHT, WIDTH), np.uint8)
        for one in sorted(annotations, key=lambda one: one["category_id"]):
            if one["image_id"] == frame:
                expected[coco_mask.decode(one["segmentation"]) > 0] = one["category_id"]
        assert np.array_equal(np.asarray(image), expected)


def test_the_film_has_every_frame_at_its_time(whole: Path) -> None:
    frames = list(FrameReader(whole / "overlay.mp4"))
    assert [frame.stamp for frame in frames] == pytest.approx([i * 40_000_000 for i in range(COUNT)], abs=1e5)
    assert frames[0].image.shape == (HEIGHT, WIDTH, 3)


def test_a_finished_run_given_again_changes_nothing(folder: Path, whole: Path) -> None:
    before = tracks(whole)
    assert main(arguments(folder, whole)) == 0
    assert tracks(whole) == before


def test_an_interrupted_run_goes_on_to_the_same_result(folder: Path, whole: Path, tmp_path: Path) -> None:
    out = folder / "interrupted"
    command = [sys.executable, "-m", "sam2_core.tools.video", *arguments(folder, out)]
    for frames in (2, 5):  # of 30
        assert "goes on from here" in interrupt(command, frames, tmp_path)
    assert main(arguments(folder, out)) == 0
    assert tracks(out) == tracks(whole)
    assert (out / "masks.json").read_bytes() == (whole / "masks.json").read_bytes()


def test_a_restarted_run_leaves_no_mask_of_the_former_one(folder: Path) -> None:
    out = folder / "restarted"
    (folder / "late.yaml").write_text("prompts: [{object: 1, frame: 27, points: [[64, 48]]}]")
    given = [*arguments(folder, out, prompts="late.yaml"), "--outputs", "masks"]
    assert main(given) == 0
    (out / "masks" / "notes.png").write_bytes(b"of somebody")
    assert main([*given, "--direction", "forward", "--restart"]) == 0
    names = sorted(path.name for path in (out / "masks").iterdir())
    assert names == ["00027.png", "00028.png", "00029.png", "notes.png"]


def test_a_run_with_other_prompts_does_not_mix_with_the_old_one(
    folder: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "other.yaml").write_text("prompts: [{object: 1, frame: 0, points: [[64, 48]]}]")
    before = tracks(whole)
    given = arguments(folder, whole, prompts="other.yaml")
    assert main(given) == 1
    assert "holds a run with another prompts file; allowed: another folder, or --restart" in error(capsys)
    assert tracks(whole) == before


def test_another_video_of_the_same_name_does_not_get_the_masks_of_the_former(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "replaced"
    given = [*arguments(folder, out, video="mine.mp4", prompts="first.yaml"), "--outputs", "masks"]
    (folder / "first.yaml").write_text("prompts: [{object: 1, frame: 0, points: [[64, 48]]}]")
    for index, expected in enumerate((0, 1)):
        with VideoWriter(folder / "mine.mp4", rate=25) as writer:
            for frame in range(3):
                writer.write(picture(frame + 10 * index), frame * 40_000_000)
        assert main(given) == expected
    assert "holds a run with another video; allowed: another folder, or --restart" in error(capsys)


def test_an_image_folder_of_which_a_picture_or_the_rate_changed_is_another_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = folder / "images"
    images.mkdir()
    for index in range(2):
        Image.fromarray(picture(index)).save(images / f"{index}.png")
    (folder / "first.yaml").write_text("prompts: [{object: 1, frame: 0, points: [[64, 48]]}]")
    given = [*arguments(folder, folder / "rate", video="images", prompts="first.yaml"), "--outputs", "masks"]
    assert main(given) == 0
    assert main([*given, "--rate", "10"]) == 1
    assert "holds a run with another rate" in error(capsys)
    Image.fromarray(picture(20)).save(images / "1.png")
    assert main(given) == 1
    assert "holds a run with another video" in error(capsys)


@pytest.mark.skipif(torch.cuda.is_available(), reason="where there is a GPU, it can be asked for")
def test_a_gpu_that_is_not_there_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*arguments(folder, folder / "nothing"), "--device", "cuda"])
    assert end.value.code == 2
    assert "'cuda', but PyTorch finds no GPU here; allowed: cpu" in error(capsys)


@pytest.mark.parametrize("rate", ["0", "-5", "nan", "inf", "1e6", "1e-300", "fast"])
def test_a_rate_that_no_video_has_is_refused(
    folder: Path, rate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([*arguments(folder, folder / "nothing"), f"--rate={rate}"])
    assert end.value.code == 2
    assert f"'{rate}'; allowed: 0.001 to 1000" in error(capsys)


def error(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("frame: 99, points: [[1, 1]]", r"bad.yaml:1: frame 99 is not in the video; allowed: 0 to 29"),
        ("time: 9, points: [[1, 1]]", r"bad.yaml:1: time 9 s is not in the video; allowed: 0 to 1.16"),
        ("frame: 1, points: [[500, 1]]", r"bad.yaml:1: point (500, 1); allowed: 0 <= x <= 128, 0 <= y <= 96"),
        ("frame: 1, pts: [[5, 1]]", r"bad.yaml:1: unknown field 'pts'; allowed: object, label, frame, time"),
    ],
)
def test_a_mistake_in_the_prompts_is_told_before_anything_is_written(
    folder: Path, prompts: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.yaml").write_text("prompts: [{object: 1, " + prompts + "}]")
    assert main(arguments(folder, folder / "nothing", prompts="bad.yaml")) == 1
    assert message in error(capsys)
    assert not (folder / "nothing").exists()


def test_where_nothing_can_be_written_no_results_are_promised(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("of somebody")
    assert main(arguments(folder, tmp_path / "file")) == 1
    assert error(capsys).strip() == f"sam2-video: --out {tmp_path / 'file'} is a file; allowed: a folder"
    assert main(arguments(folder, tmp_path / "file" / "inside")) == 1
    told = error(capsys)
    assert "cannot write" in told
    assert "goes on" not in told


def test_a_long_video_leaves_nothing_in_temporary_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VideoWriter(tmp_path / "long.mp4", rate=25) as writer:
        for index in range(100):
            writer.write(picture(index % COUNT), index * 40_000_000)
    (folder / "middle.yaml").write_text(
        "prompts: [{object: 1, frame: 10, points: [[64, 48]]}, {object: 2, frame: 90, points: [[64, 48]]}]"
    )
    opened: list[IO[bytes]] = []
    make = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: opened.append(make()) or opened[-1])
    given = arguments(folder, tmp_path / "out", video=str(tmp_path / "long.mp4"), prompts="middle.yaml")
    assert main([*given, "--image-size", "64", "--outputs", "masks"]) == 0
    assert [file.seek(0, os.SEEK_END) for file in opened] == [0, 0]


def test_each_unusable_file_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(folder, folder / "nothing", video="none.mp4")) == 1
    assert "none.mp4: no such file or folder" in error(capsys)
    given = arguments(folder, folder / "nothing")
    assert main([*given, "--checkpoint", str(folder / "none.pt")]) == 1
    assert "none.pt" in error(capsys)
    assert main([*given, "--image-size", "100"]) == 1
    assert "image_size 100 is not allowed" in error(capsys)


def test_what_lies_before_a_damaged_frame_is_segmented(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with av.open(str(folder / "clip.mp4")) as container:
        places = sorted((p.pts, p.pos, p.size) for p in container.demux(video=0) if p.pts is not None)
    _, start, size = places[12]
    assert start is not None
    data = bytearray((folder / "clip.mp4").read_bytes())
    data[start + 5 : start + size] = bytes(255 - byte for byte in data[start + 5 : start + size])
    (folder / "damaged.mp4").write_bytes(data)
    (folder / "early.yaml").write_text("prompts: [{object: 1, frame: 0, points: [[64, 48]]}]")
    out = folder / "damaged"
    assert main(arguments(folder, out, video="damaged.mp4", prompts="early.yaml")) == 1
    assert "cannot be decoded" in error(capsys)
    found = [json.loads(line)["frame"] for line in tracks(out)]
    assert found == list(range(len(found)))
    assert 1 <= len(found) <= 12
    assert len(list((out / "masks").iterdir())) == len(found)
    assert len(list(FrameReader(out / "overlay.mp4"))) == len(found)


def test_a_video_that_ends_early_is_segmented_and_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (folder / "clip.mp4").read_bytes()
    with av.open(str(folder / "clip.mp4")) as container:
        last = max(packet.pos for packet in container.demux(video=0) if packet.pos is not None)
    (folder / "short.mp4").write_bytes(data[:last])
    out = folder / "short"
    assert main(arguments(folder, out, video="short.mp4")) == 1
    assert f"short.mp4: ends early, after {COUNT - 1} of {COUNT} frames" in error(capsys)
    assert len(json.loads((out / "masks.json").read_text())["images"]) == COUNT - 1


def test_a_file_that_cannot_grow_is_told_and_what_was_written_stays_readable(
    folder: Path, whole: Path
) -> None:
    out = folder / "full"
    command = [sys.executable, "-m", "sam2_core.tools.video", *arguments(folder, out)]
    limit = (whole / "tracks.jsonl").stat().st_size * 2 // 3
    # Threads that share a sum change its last digits; the undisturbed run had one, like all of these tests.
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, preexec_fn=files_up_to(limit), env=alone, capture_output=True, text=True)
    assert run.returncode == 1
    assert "cannot write" in run.stderr
    assert "goes on from there" in run.stderr
    assert "Traceback" not in run.stderr
    kept = tracks(out)
    complete = tracks(whole)
    assert kept
    assert all(line in complete for line in kept[:-1]), "only the last line may be cut"
    assert main(arguments(folder, out)) == 0
    assert tracks(out) == complete


def test_the_help_explains_the_prompts_file(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for word in ("prompts file (YAML)", "points: [[412, 305]", "masks/00000.png", "--direction", "examples:"):
        assert word in text
