"""`sam2-eval --protocol images` on the same image in every form that a dataset may have."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from dataset_folders import HEIGHT, LATER, WIDTH, davis, labels, results, write_frames
from PIL import Image
from pycocotools import mask as coco_masks
from random_checkpoint import write_random_checkpoint
from random_weights import random_network

from sam2_core.evaluation.image_dataset import decode
from sam2_core.evaluation.images import segment_objects
from sam2_core.masks import encode_rle, run_lengths
from sam2_core.tools.eval import main

FRAME = f"{LATER:05}"
Annotation = dict[str, Any]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("weights") / "pico.safetensors")


def annotations(image: int | str) -> list[Annotation]:
    """The two squares of the frame as run lengths, and as a polygon."""
    one, other = (labels(LATER) == value for value in (1, 2))
    y, x = (int(values.min()) for values in np.nonzero(other))
    side = int(np.ptp(np.nonzero(other)[0])) + 1
    polygon = [x, y, x + side, y, x + side, y + side, x, y + side]
    return [
        {"id": 1, "image_id": image, "segmentation": {"size": [HEIGHT, WIDTH], "counts": encode_rle(one)}},
        {"id": 2, "image_id": image, "segmentation": [polygon]},
    ]


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_frames(path.parent / "frames")
    (path.parent / "frames" / f"{FRAME}.jpg").rename(path)
    for left in (path.parent / "frames").iterdir():
        left.unlink()
    (path.parent / "frames").rmdir()


def coco(root: Path, more: list[Annotation] | None = None) -> Path:
    write_image(root / "val/one.jpg")
    crowd = {"id": 3, "image_id": 9, "iscrowd": 1, "segmentation": {"size": [1, 1], "counts": [1]}}
    content = {
        "images": [{"id": 9, "file_name": "one.jpg"}, {"id": 10, "file_name": "two.jpg"}],
        "annotations": [*annotations(9), crowd, *(more or [])],
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations/instances_val.json").write_text(json.dumps(content))
    return root


def sa1b(root: Path) -> Path:
    write_image(root / "sa_1.jpg")
    (root / "sa_1.json").write_text(json.dumps({"image": {}, "annotations": annotations(1)}))
    return root


def score(dataset: Path, out: Path, checkpoint: Path, *more: str) -> int:
    given = [str(dataset), "--out", str(out), "--protocol", "images", "--checkpoint", str(checkpoint)]
    return main([*given, "--threads", "1", *more])


def test_every_form_of_the_same_image_gives_the_same_figures(tmp_path: Path, checkpoint: Path) -> None:
    videos = tmp_path / "videos"
    davis(videos, ("a",))
    for folder in ("JPEGImages/480p/a", "Annotations/480p/a"):
        for path in (videos / folder).iterdir():
            if path.stem != FRAME:
                path.unlink()
    forms = {
        "coco": coco(tmp_path / "coco"),
        "file": tmp_path / "coco/annotations/instances_val.json",
        "sa1b": sa1b(tmp_path / "sa1b"),
        "videos": videos,
    }
    found = []
    for name, dataset in forms.items():
        assert score(dataset, tmp_path / "out" / name, checkpoint) == 0
        found.append(results(tmp_path / "out" / name))
    for one in found:
        assert one["mean_iou"] == found[0]["mean_iou"]
        assert one["objects"] == 2
        assert list(one["mean_iou"]) == ["1 click", "3 clicks", "5 clicks", "box"]
        assert all(0 <= value <= 1 for value in one["mean_iou"].values())
    assert list(found[0]["images"]) == ["one.jpg"]
    assert list(found[3]["images"]) == [f"a/{FRAME}"]
    assert [problem for one in found for problem in one["problems"]] == []


def test_the_report_shows_the_worst_objects(tmp_path: Path, checkpoint: Path) -> None:
    out = tmp_path / "out"
    assert score(coco(tmp_path / "coco"), out, checkpoint) == 0
    found = results(out)
    means = " | ".join(f"{value:.3f}" for value in found["mean_iou"].values())
    report = (out / "report.md").read_text()
    assert f"| **all objects** | 2 | {means} |" in report
    order = sorted(found["images"]["one.jpg"].items(), key=lambda item: sum(item[1].values()))
    pictures = [f"one.jpg, object {name}.png" for name, _ in order]
    first, second = (report.index(f"](worst/{quote(picture)})") for picture in pictures)
    assert first < second, "the worst one first"
    for picture in pictures:
        assert Image.open(out / "worst" / picture).width >= 960


def test_faults_are_told_by_file_and_left_out_or_fatal(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = {"size": [HEIGHT, WIDTH], "counts": encode_rle(np.zeros((HEIGHT, WIDTH), bool))}
    more = [
        {"id": 4, "image_id": 9, "segmentation": {"size": [HEIGHT, 7], "counts": "0"}},
        {"id": 5, "image_id": 9, "segmentation": empty},
        {"id": 6, "image_id": 9, "segmentation": [[1, 2, 3]]},
        {"id": 7, "image_id": 9, "segmentation": {"size": [HEIGHT, WIDTH], "counts": [5, 5]}},
        {"id": 8, "image_id": 9},
        {"id": 11, "image_id": 9, "segmentation": {"size": 5, "counts": None}},
        {"id": 9, "image_id": 10, "segmentation": [[1, 2, 3, 4, 5, 9]]},
        {"id": 10, "image_id": 77, "segmentation": [[1, 2, 3, 4, 5, 9]]},
    ]
    dataset = coco(tmp_path / "coco", more)
    file = dataset / "annotations/instances_val.json"
    told = [
        f"{file}: annotation 10 names image 77, which is not in the file",
        f"{file}: annotation 4: its mask is 7 x {HEIGHT}; allowed: the image's size, {WIDTH} x {HEIGHT}",
        f"{file}: annotation 5: no pixel shows the object",
        f"{file}: annotation 6: a polygon is not x0, y0, x1, y1, ... of three or more corners",
        f"{file}: annotation 7: its run lengths do not fill the image",
        f"{file}: annotation 8: its segmentation is neither a list of polygons nor run lengths",
        f"{file}: annotation 11: its segmentation is malformed",
        f"{dataset / 'val/two.jpg'}: is missing",
    ]
    out = tmp_path / "out"
    assert score(dataset, out, checkpoint, "--strict") == 1
    error = capsys.readouterr().err
    assert all(problem in error for problem in told)
    assert not (out / "results.json").exists()
    assert score(dataset, out, checkpoint) == 0
    assert results(out)["problems"] == told
    assert results(out)["objects"] == 2
    (dataset / "val/two.jpg").write_bytes(b"nothing")
    assert score(dataset, out, checkpoint) == 0
    assert results(out)["problems"][-1] == f"{dataset / 'val/two.jpg'}: is not a readable image"


def test_a_broken_file_of_one_image_leaves_out_that_image(tmp_path: Path, checkpoint: Path) -> None:
    dataset = sa1b(tmp_path / "set")
    for name, content in (("sa_2", "{"), ("sa_3", "{}"), ("sa_5", '{"annotations": 5}')):
        write_image(dataset / f"{name}.jpg")
        (dataset / f"{name}.json").write_text(content)
    (dataset / "sa_4.json").write_text("{}")
    assert score(dataset, tmp_path / "out", checkpoint) == 0
    assert results(tmp_path / "out")["problems"] == [
        f"{dataset / 'sa_4.json'}: has no image beside it",
        f"{dataset / 'sa_2.json'}: is not JSON",
        f"{dataset / 'sa_3.json'}: has no annotations",
        f"{dataset / 'sa_5.json'}: has no annotations",
    ]
    assert list(results(tmp_path / "out")["images"]) == ["sa_1.jpg"]


def test_what_is_no_dataset_of_images_is_an_error(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def error(dataset: Path, *more: str) -> str:
        assert score(dataset, tmp_path / "out", checkpoint, *more) == 1
        return capsys.readouterr().err

    (tmp_path / "empty").mkdir()
    assert "is no dataset; allowed: a folder with JPEGImages_24fps" in error(tmp_path / "empty")
    dataset = coco(tmp_path / "coco")
    (tmp_path / "names.txt").write_text("three.jpg")
    assert "has nothing annotated of the name three.jpg" in error(
        dataset, "--videos", str(tmp_path / "names.txt")
    )
    (dataset / "annotations/instances_val.json").write_text("[]")
    assert "instances_val.json: is no COCO file; allowed: 'images' and 'annotations'" in error(dataset)
    (dataset / "annotations/instances_val.json").rename(dataset / "annotations/instances_train.json")
    assert "files that have their folder of images: none; allowed: one instances_SPLIT.json" in error(dataset)


def test_masks_are_decoded_as_coco_has_them() -> None:
    mask = labels(LATER) > 0
    compressed = coco_masks.encode(np.asfortranarray(mask))["counts"].decode()
    runs = run_lengths(mask).tolist()
    for counts in (compressed, runs):
        assert (decode({"size": [HEIGHT, WIDTH], "counts": counts}, (HEIGHT, WIDTH)) == mask).all()


def test_more_objects_on_an_image_take_no_more_memory() -> None:
    """But for their own masks and figures."""
    network, size = random_network("sam2_pico", 64), (240, 320)
    image = np.zeros((*size, 3), np.uint8)
    peaks = []
    for count in (16, 48):
        truth = {str(index): np.zeros(size, bool) for index in range(count)}
        for index, mask in enumerate(truth.values()):
            mask[4 * index : 4 * index + 40, 3 * index : 3 * index + 50] = True
        tracemalloc.start()
        assert [name for name, _ in segment_objects(network, image, truth)] == list(truth)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
