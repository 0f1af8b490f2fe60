"""The frames of real clips that are annotated by hand (the clips themselves are not here)."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam2_core.evaluation.dataset import find_videos, read_video
from sam2_core.masks import decode_rle, encode_rle
from sam2_core.video import VideoError, VideoWriter

ROOT = Path(__file__).parents[2]
ANNOTATIONS = sorted((ROOT / "test/real_clips").glob("*.json"))
lay_out = runpy.run_path(str(ROOT / "benchmark/real_clips.py"))["lay_out"]


@pytest.mark.parametrize("path", ANNOTATIONS, ids=lambda path: path.stem)
def test_every_object_is_annotated_on_four_frames_or_more_from_the_first_on(path: Path) -> None:
    content = json.loads(path.read_text())
    sizes = {image["id"]: [image["height"], image["width"]] for image in content["images"]}
    for category in content["categories"]:
        own = [one for one in content["annotations"] if one["category_id"] == category["id"]]
        masks = [decode_rle(one["segmentation"]["counts"], *sizes[one["image_id"]]) for one in own]
        assert [one["area"] for one in own] == [np.count_nonzero(mask) for mask in masks]
        assert masks[0].any()
        assert own[0]["image_id"] == 0
        assert len(own) >= 4
        assert len({one["image_id"] for one in own}) == len(own)


def test_the_issue_names_these_objects() -> None:
    names = {
        (path.stem, category["name"])
        for path in ANNOTATIONS
        for category in json.loads(path.read_text())["categories"]
    }
    assert {("juggle", "ball"), ("juggle", "man"), ("dog", "dog"), ("bedroom", "girl")} <= names


def write_annotation(folder: Path) -> tuple[Path, np.ndarray]:
    """The outline of a square on frames 0 and 3 of a clip of 5; on frame 3 it is hidden."""
    mask = np.zeros((48, 64), bool)
    mask[10:30, 20:40] = True
    annotations = [
        {
            "id": index + 1,
            "image_id": number,
            "category_id": 1,
            "segmentation": {"size": [48, 64], "counts": encode_rle(one)},
        }
        for index, (number, one) in enumerate([(0, mask), (3, np.zeros_like(mask))])
    ]
    content: dict[str, Any] = {
        "info": {"video": "clip.mp4"},
        "images": [{"id": number, "height": 48, "width": 64} for number in (0, 3)],
        "categories": [{"id": 1, "name": "square"}],
        "annotations": annotations,
    }
    path = folder / "clip.json"
    path.write_text(json.dumps(content))
    return path, mask


def write_clip(path: Path, count: int, size: tuple[int, int] = (48, 64)) -> None:
    with VideoWriter(path, 10.0) as writer:
        for index in range(count):
            writer.write(np.full((*size, 3), 50 * index, np.uint8), index * 100_000_000)


def test_a_clip_becomes_a_dataset(tmp_path: Path) -> None:
    annotation, mask = write_annotation(tmp_path)
    write_clip(tmp_path / "clip.mp4", 5)
    lay_out(annotation, tmp_path, tmp_path / "set")
    (folders,) = find_videos(tmp_path / "set")
    video, problems = read_video(folders, scored=False)
    assert video is not None
    assert problems == []
    assert len(video.images) == 5
    assert abs(int(video.images.image(4).mean()) - 200) < 5
    assert video.annotated == {"square": ("00000", "00003")}
    assert (video.masks.read("00000", ["square"], (48, 64))["square"] == mask).all()
    assert not video.masks.read("00003", ["square"], (48, 64))["square"].any()
    assert Image.open(video.images.paths[0]).size == (64, 48)


def test_a_clip_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    annotation, _ = write_annotation(tmp_path)
    with pytest.raises(VideoError, match=r"clip\.mp4: no such file"):
        lay_out(annotation, tmp_path, tmp_path / "set")
    write_clip(tmp_path / "clip.mp4", 3)
    with pytest.raises(VideoError, match="has 3 frames; allowed: more than 3"):
        lay_out(annotation, tmp_path, tmp_path / "set")
    write_clip(tmp_path / "clip.mp4", 5, (32, 64))
    with pytest.raises(VideoError, match="is 64 x 32; allowed: 64 x 48"):
        lay_out(annotation, tmp_path, tmp_path / "set")
