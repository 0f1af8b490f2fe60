"""Annotations of COCO's and SA-1B's form that are not what they should be are named with their file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dataset_folders import HEIGHT, WIDTH
from test_eval_images import annotations, coco, sa1b

from sam2_core.evaluation.dataset import DatasetError
from sam2_core.evaluation.image_dataset import decode, find_images


@pytest.mark.parametrize("foreign", ["x", None, 5, [1]])
def test_an_annotation_that_is_no_object_is_told_and_left_out(tmp_path: Path, foreign: Any) -> None:
    root = sa1b(tmp_path)
    file = root / "sa_1.json"
    file.write_text(json.dumps({"annotations": [*annotations(1), foreign]}))
    ((source,), _) = find_images(root)
    ((image,), problems) = source.read()
    assert problems == [f"{file}: annotation 3: is {foreign!r}; allowed: a JSON object"]
    assert list(image.masks()) == ["1", "2"]


def foreign_name(content: dict[str, Any]) -> None:
    content["images"].append({"id": 11, "file_name": 5})


def missing_name(content: dict[str, Any]) -> None:
    content["images"][1]["file_name"] = None


def same_name(content: dict[str, Any]) -> None:
    content["images"].append({"id": 11, "file_name": "one.jpg"})


def same_id(content: dict[str, Any]) -> None:
    content["images"].append({"id": 9, "file_name": "three.jpg"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (foreign_name, "image 11 has the file_name 5; allowed: a text"),
        (missing_name, "image 10 has the file_name None; allowed: a text"),
        (same_name, "has several images of the file_name 'one.jpg'; allowed: one"),
        (same_id, "has several images of the id 9; allowed: one"),
    ],
)
def test_images_of_coco_have_a_name_of_their_own(
    tmp_path: Path, damage: Callable[[dict[str, Any]], None], message: str
) -> None:
    file = coco(tmp_path) / "annotations/instances_val.json"
    content = json.loads(file.read_text())
    damage(content)
    file.write_text(json.dumps(content))
    with pytest.raises(DatasetError) as error:
        find_images(tmp_path)
    assert str(error.value) == f"{file}: {message}"


@pytest.mark.parametrize(
    "runs",
    [
        [10**30],
        [2**62, 2**62, 2**62, 2**62, HEIGHT * WIDTH],  # in 64 bits, their sum is that of the image
        [HEIGHT * WIDTH + 0.5],
        [],
        None,
    ],
)
def test_run_lengths_are_integers_that_fill_the_image(runs: Any) -> None:
    with pytest.raises(ValueError, match="its run lengths"):
        decode({"size": [HEIGHT, WIDTH], "counts": runs}, (HEIGHT, WIDTH))


@pytest.mark.parametrize("segmentation", [[[10**400, 1, 5, 1, 5, 5]], [5], {"size": 5, "counts": [1]}])
def test_what_is_no_segmentation_is_a_value_error(segmentation: Any) -> None:
    with pytest.raises(ValueError, match=r"malformed|polygon"):
        decode(segmentation, (HEIGHT, WIDTH))
