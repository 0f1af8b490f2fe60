"""`sam2-eval` on masks of one folder an object, which are scored as SA-V's public code does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dataset_folders import HEIGHT, WIDTH, labels, results, write_frames
from PIL import Image
from random_checkpoint import write_random_checkpoint

from sam2_core.tools.eval import main

EVERY = 2  # the frames that are annotated: 0, 2, 4, 6 and 8


def write_object(folder: Path, signs: str) -> None:
    """One file for each sign: a square where it is #, black where it is a dot."""
    folder.mkdir(parents=True)
    for index, sign in enumerate(signs):
        frame = EVERY * index
        mask = labels(frame) == 1 if sign == "#" else np.zeros((HEIGHT, WIDTH), bool)
        Image.fromarray(mask).save(folder / f"{frame:05}.png")


def write_dataset(root: Path, **objects: str) -> Path:
    write_frames(root / "JPEGImages_24fps/a")
    for name, signs in objects.items():
        write_object(root / "Annotations_6fps/a" / name, signs)
    return root


@pytest.mark.parametrize(
    ("truth", "answer", "mean"),
    [
        ("#..##", "#..##", 1),
        ("#..##", "#....", 0),  # hidden at once: only the frame of its return counts
        ("#..##", "##..#", 1 / 3),  # from a wrong answer on all count
        ("..###", "..##.", 1),
        ("..###", "..#..", 1 / 2),  # its own first mask counts where it is not the first file
        ("..###", ".##..", 1 / 3),
        ("##...", "##...", 1),
        ("##...", "##.#.", 2 / 3),  # a hidden object counts once it was seen
        ("##...", "#....", 2 / 3),
    ],
)
def test_an_object_counts_from_where_it_is_seen_on(
    tmp_path: Path, truth: str, answer: str, mean: float
) -> None:
    dataset, found, out = (tmp_path / name for name in ("set", "found", "out"))
    write_dataset(dataset, one=truth)
    write_object(found / "a/one", answer)
    assert main([str(dataset), "--out", str(out), "--predictions", str(found), "--strict"]) == 0
    told = results(out)
    assert (told["j"]["mean"], told["f"]["mean"]) == pytest.approx((mean, mean))


def test_an_object_that_hides_at_once_is_judged_hidden_there(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "set", one="#..##")
    out = tmp_path / "out"
    assert main([str(dataset), "--out", str(out), "--predictions", str(dataset / "Annotations_6fps")]) == 0
    found = results(out)["visibility"]
    assert (found["accuracy"], found["hidden_frames"], found["returns"], found["found_again"]) == (1, 2, 1, 1)


def test_an_object_between_whose_ends_no_mask_shows_it_is_left_out(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "set", one="#...#", other="###")
    out, masks = tmp_path / "out", dataset / "Annotations_6fps"
    assert main([str(dataset), "--out", str(out), "--predictions", str(masks)]) == 0
    assert list(results(out)["videos"]["a"]["objects"]) == ["other"]
    assert results(out)["problems"] == [
        f"{masks / 'a'}: object one has no mask to score; "
        "allowed: one between the first and the last, which in SA-V shows the object"
    ]


def test_the_tracker_leaves_a_mask_for_every_true_one(tmp_path: Path) -> None:
    objects = {"one": "#####", "late": "..###", "never": "....."}
    dataset = write_dataset(tmp_path / "set", **objects)
    checkpoint = write_random_checkpoint(tmp_path / "pico.safetensors")
    out = tmp_path / "out"
    assert main([str(dataset), "--out", str(out), "--checkpoint", str(checkpoint)]) == 0
    for name, signs in objects.items():
        shown = signs.find("#") if "#" in signs else len(signs)
        for index in range(len(signs)):
            mask = np.asarray(Image.open(out / f"predictions/a/{name}/{EVERY * index:05}.png"))
            assert mask.shape == (HEIGHT, WIDTH)
            assert index >= shown or not mask.any()
