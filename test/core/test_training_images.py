"""Single images of SA-1B and COCO, whole and damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import training_folders
from hypothesis import given, settings
from hypothesis import strategies as st
from training_folders import opened, videos

from sam2_core.evaluation.dataset import DatasetError
from sam2_core.evaluation.mask_folders import DatasetFileError
from sam2_core.training.datasets.images import Sa1bSource, read_coco
from sam2_core.training.datasets.opening import UNUSABLE


def test_images_of_sa_1b_and_coco(tmp_path: Path) -> None:
    datasets, batches = opened(1, path=str(training_folders.sa_1b(tmp_path / "sa", 3)))
    truth = training_folders.scene(301, frames=1)
    video = videos(datasets)[0]
    np.testing.assert_array_equal(video.masks(0, ["0"])["0"], truth.labels[0] == 1)
    assert batches[0, 0].frames.shape == (1, 3, 3, 64, 64)

    path = training_folders.coco(tmp_path / "coco")
    datasets, batches = opened(1, path=str(path), images=str(tmp_path / "coco/images"), held_out=0)
    assert [problem for problem in datasets.problems if "annotation 4 names unknown image 7" in problem]
    polygon, runs = (video.masks(0, video.seen(0)) for video in videos(datasets))
    expected = np.zeros((64, 80), bool)
    expected[20:60, 10:50] = True
    assert np.mean(polygon["0"] != expected) < 0.02, "at most the outline differs"
    assert list(runs) == ["0"], "groups are left out"
    np.testing.assert_array_equal(np.flatnonzero(runs["0"].any(axis=0)), np.arange(10, 30))
    assert batches[0, 0].masks.any()


def test_what_an_image_file_says_wrongly_is_listed(tmp_path: Path) -> None:
    root = training_folders.sa_1b(tmp_path / "sa", 4)
    for number, name in ((1, ""), (2, "elsewhere/sa_2.jpg"), (3, None)):
        path = root / f"sa_{number}.json"
        content = json.loads(path.read_text())
        content["image"]["file_name"] = name
        path.write_text(json.dumps(content))
    datasets, _ = opened(1, path=str(root), held_out=0)
    assert [video.name for video in videos(datasets)] == ["sa_0"]
    told = "\n".join(datasets.problems)
    assert "sa_1.json: names" in told
    assert "elsewhere/sa_2.jpg" in told
    assert "sa_3.json: is no annotation of SA-1B" in told

    path = training_folders.coco(tmp_path / "coco")
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = None
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetFileError, match=r"instances.json: is no instance file of COCO"):
        opened(1, path=str(path), images=str(tmp_path / "coco/images"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab/.", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "size"]), inner),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def image_files(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Path]]:
    """Annotations of SA-1B and of COCO, with the folder of their images."""
    root = tmp_path_factory.mktemp("images")
    sa_1b = training_folders.sa_1b(root / "sa", 1)
    return [
        (sa_1b / "sa_0.json", str(sa_1b)),
        (training_folders.coco(root / "coco"), str(root / "coco/images")),
    ]


@pytest.mark.parametrize("kind", [0, 1], ids=["SA-1B", "COCO"])
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_whatever_an_image_file_says_is_used_or_named(
    image_files: list[tuple[Path, Path]], kind: int, data: st.DataObject
) -> None:
    path, images = image_files[kind]
    good = path.read_text()
    content = json.loads(good)
    whole = [content, *content.values()]
    parts = [part for some in whole if isinstance(some, list) for part in (some, *some)]
    place = data.draw(st.sampled_from([*whole, *parts]))
    key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    place[key] = data.draw(VALUES)
    path.write_text(json.dumps(content))
    try:
        for source in read_coco(path, images)[0] if kind else [Sa1bSource(path)]:
            source.check()
    except UNUSABLE:
        pass
    finally:
        path.write_text(good)


def test_images_alone_give_no_clips(tmp_path: Path) -> None:
    folder = str(training_folders.sa_1b(tmp_path, 2))
    with pytest.raises(DatasetError, match="single images"):
        opened(4, path=folder)
