"""`sam2-bag` as a user runs it: real bags in, real bags out; interruption, damage, a full disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from interrupts import files_up_to, interrupt
from recorded_bags import (
    COUNT,
    HEIGHT,
    START,
    STEP,
    TOPIC,
    WIDTH,
    Contents,
    arguments,
    header,
    picture,
    read,
    texts,
    write_bag,
    write_inputs,
)
from rosbags.rosbag2 import StoragePlugin

from sam2_core.drawing import draw_overlay
from sam2_core.masks import decode_rle
from sam2_core.tools.bag import main
from sam2_core.tools.bag_messages import nanoseconds
from sam2_core.tools.journal import FoundObject


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("bag"))


@pytest.fixture(scope="module")
def written(folder: Path) -> Contents:
    assert main([*arguments(folder, "mcap", folder / "out"), "--images"]) == 0
    return read(folder / "out")


def error(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_the_topics_are_those_of_the_node(written: Contents) -> None:
    per_object = {f"/sam2/objects/id_{key}/{name}" for key in (2, 7) for name in ("mask", "visibility")}
    images = {"/sam2/labels", "/sam2/overlay", "/sam2/overlay/compressed"}
    assert written.keys() == {"/sam2/masks", "/sam2/objects"} | images | per_object


def test_every_image_has_its_masks_with_its_own_time_and_header(written: Contents) -> None:
    masks = written["/sam2/masks"]
    assert [stamp for stamp, _ in masks] == [START + index * STEP for index in range(COUNT)]
    for index, (_, message) in enumerate(masks):
        assert nanoseconds(message.header.stamp) == nanoseconds(header(index).stamp)
        assert message.header.frame_id == "camera_optical"
        expected = [key for key, first in ((2, 3), (7, 1)) if index >= first]
        assert [one.id for one in message.objects] == expected
        for one in message.objects:
            assert one.label == {2: "plate", 7: "cup"}[one.id]
            assert (one.mask.height, one.mask.width) == (HEIGHT, WIDTH)
            assert one.visible == (one.score > 0)


def test_all_topics_tell_the_same(written: Contents) -> None:
    for stamp, message in written["/sam2/masks"]:
        labels = np.zeros((HEIGHT, WIDTH), np.uint16)
        for one in message.objects:
            mask = decode_rle(one.mask.counts, HEIGHT, WIDTH)
            labels[mask] = one.id
            image = dict(written[f"/sam2/objects/id_{one.id}/mask"])[stamp]
            assert image.encoding == "mono8"
            assert np.array_equal(image.data.reshape(HEIGHT, WIDTH) > 0, mask)
            seen = dict(written[f"/sam2/objects/id_{one.id}/visibility"])[stamp]
            assert (seen.visible, seen.score) == (one.visible, one.score)
        image = dict(written["/sam2/labels"])[stamp]
        assert image.encoding == "16UC1"
        assert np.array_equal(image.data.view(np.uint16).reshape(HEIGHT, WIDTH), labels)
        overlay = dict(written["/sam2/overlay"])[stamp]
        assert overlay.encoding == "rgb8"
        drawn = overlay.data.reshape(HEIGHT, WIDTH, 3)
        assert np.array_equal(drawn, draw_overlay(picture(round((stamp - START) / STEP)), found(message)))
        jpeg = cv2.imdecode(dict(written["/sam2/overlay/compressed"])[stamp].data, cv2.IMREAD_COLOR)
        smooth, expected = (cv2.blur(image, (16, 16)).astype(int) for image in (jpeg[..., ::-1], drawn))
        assert np.abs(smooth - expected).mean() < 3  # a JPEG keeps little of the noise


def found(message: Any) -> list[FoundObject]:
    """The objects of an `ObjectMasks`."""
    return [
        FoundObject(one.id, one.label, one.score, one.predicted_iou, (HEIGHT, WIDTH), one.mask.counts)
        for one in message.objects
    ]


def test_new_objects_are_announced_with_their_first_stamp(written: Contents) -> None:
    announced = [
        (stamp, [(one.id, one.label, nanoseconds(one.since)) for one in message.objects])
        for stamp, message in written["/sam2/objects"]
    ]
    cup = (7, "cup", nanoseconds(header(1).stamp))
    plate = (2, "plate", nanoseconds(header(3).stamp))
    assert announced == [(START + STEP, [cup]), (START + 3 * STEP, [plate, cup])]


@pytest.mark.parametrize(
    ("bag", "topic", "storage"),
    [
        ("sqlite3", TOPIC, "sqlite3"),
        ("mcap", f"{TOPIC}/compressed", "mcap"),
        ("mcap/mcap.mcap", TOPIC, "mcap"),
    ],
)
def test_either_storage_and_either_kind_of_image_give_the_same_masks(
    folder: Path, written: Contents, tmp_path: Path, bag: str, topic: str, storage: str
) -> None:
    assert main([*arguments(folder, bag, tmp_path / "out", topic=topic), "--storage", storage]) == 0
    contents = read(tmp_path / "out")
    assert texts(contents["/sam2/masks"]) == texts(written["/sam2/masks"])
    assert "/sam2/labels" not in contents


def test_an_interrupted_run_is_readable_and_goes_on_to_the_same_bag(
    folder: Path, written: Contents, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "sam2_core.tools.bag", *arguments(folder, "mcap", out)]
    for frames in (3, 6):  # of 30
        assert "goes on from here" in interrupt(command, frames, tmp_path)
        masks = read(out)["/sam2/masks"]
        assert frames <= len(masks) < COUNT
        assert texts(masks) == texts(written["/sam2/masks"][: len(masks)])
    given = arguments(folder, "mcap", out)
    for _ in range(2):  # and a finished run may be given again
        assert main(given) == 0
        contents = read(out)
        assert {topic: texts(contents[topic]) for topic in contents} == {
            topic: texts(written[topic]) for topic in contents
        }
    assert main([*given, "--storage", "sqlite3"]) == 0
    assert texts(read(out)["/sam2/masks"]) == texts(written["/sam2/masks"])


def test_what_was_tracked_before_a_broken_chunk_is_readable(
    folder: Path, written: Contents, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_bag(tmp_path / "broken", StoragePlugin.MCAP, compressed=True) / "broken.mcap"
    data = bytearray(path.read_bytes())
    third = _chunks(data)[2]
    data[third + 45 : third + 65] = bytes(20)  # where the compressed content begins
    path.write_bytes(data)
    assert main(arguments(folder, str(path.parent), tmp_path / "out")) == 1
    assert "damaged after image" in (told := error(capsys))
    assert TOPIC in told
    masks = read(tmp_path / "out")["/sam2/masks"]
    assert 0 < len(masks) < COUNT
    assert texts(masks) == texts(written["/sam2/masks"][: len(masks)])


def _chunks(data: bytes) -> list[int]:
    """Where the chunks of an MCAP file begin: records are an opcode, a length of 8 bytes, and content."""
    place, chunks = 8, []
    while data[place] != 0x0F:
        if data[place] == 0x06:
            chunks.append(place)
        place += 9 + int.from_bytes(data[place + 1 : place + 9], "little")
    return chunks


def test_a_full_disk_is_told_before_it_spoils_the_bag(
    folder: Path, written: Contents, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = arguments(folder, "mcap", out)
    assert main([*given, "--min-free", str(10**12)]) == 1
    assert "out: No space left on device. What was written so far can be read" in error(capsys)
    assert main(given) == 0
    assert texts(read(out)["/sam2/masks"]) == texts(written["/sam2/masks"])


def test_a_file_that_cannot_grow_is_told_and_what_was_tracked_stays_readable(
    folder: Path, written: Contents, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "sam2_core.tools.bag", *arguments(folder, "mcap", out)]
    # Enough for the masks, too little for the images.
    run = subprocess.run(
        [*command, "--images"], preexec_fn=files_up_to(2_000_000), capture_output=True, text=True
    )
    assert run.returncode == 1
    assert "cannot write" in run.stderr
    assert "Traceback" not in run.stderr
    assert len((out / "tracks.jsonl").read_text().splitlines()) == COUNT
    assert main([*arguments(folder, "mcap", out), "--images"]) == 0
    assert texts(read(out)["/sam2/labels"]) == texts(written["/sam2/labels"])
