"""`sam2-bag` as a user runs it: real bags in, real bags out; mistakes, damage, a full disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from interrupts import files_up_to, interrupt
from random_checkpoint import write_random_checkpoint
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from sam2_core.drawing import draw_overlay
from sam2_core.masks import decode_rle
from sam2_core.tools.bag import main
from sam2_core.tools.bag_files import BagWriter
from sam2_core.tools.bag_messages import Messages, nanoseconds
from sam2_core.tools.journal import FoundObject

HEIGHT, WIDTH, COUNT = 360, 480, 30
TOPIC = "/camera/image_raw"
START = 1_700_000_000_000_000_000
STEP = 33_333_333
STORE = get_typestore(Stores.ROS2_HUMBLE)
PROMPTS = """\
prompts:
- {object: 7, label: cup, frame: 1, points: [[240, 180], [5, 5]], labels: [1, 0]}
- {object: 2, label: plate, time: 0.1, box: [100, 100, 300, 300]}
- {object: 7, frame: 5, points: [[250, 180]]}
"""


def picture(index: int) -> np.ndarray:
    image = np.random.default_rng(index).integers(0, 90, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    image[120:240, 180 + 5 * index : 300 + 5 * index] = (220, 90, 40)
    return image


def header(index: int) -> Any:
    """Stamped 5 ms before it was recorded."""
    seconds, rest = divmod(START + index * STEP - 5_000_000, 1_000_000_000)
    stamp = STORE.types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=rest)
    return STORE.types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera_optical")


def raw_image(index: int) -> Any:
    bgr = picture(index)[..., ::-1]
    return STORE.types["sensor_msgs/msg/Image"](
        header(index), HEIGHT, WIDTH, "bgr8", 0, 3 * WIDTH, np.ascontiguousarray(bgr).reshape(-1)
    )


def png_image(index: int) -> Any:
    _, data = cv2.imencode(".png", picture(index)[..., ::-1])
    return STORE.types["sensor_msgs/msg/CompressedImage"](header(index), "png", np.asarray(data).reshape(-1))


def write_bag(path: Path, storage: StoragePlugin, compressed: bool = False) -> Path:
    """The same pictures as raw and as compressed images, a topic of texts, and one without messages."""
    writer = Writer(path, version=8, storage_plugin=storage)
    if compressed:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        topics = {TOPIC: raw_image, f"{TOPIC}/compressed": png_image}
        kinds = {topic: make(0).__msgtype__ for topic, make in topics.items()}
        connections = {
            topic: writer.add_connection(topic, kind, typestore=STORE) for topic, kind in kinds.items()
        }
        for index in range(COUNT):
            for topic, make in topics.items():
                data = STORE.serialize_cdr(make(index), kinds[topic]).tobytes()
                writer.write(connections[topic], START + index * STEP, data)
        writer.add_connection("/silent", kinds[TOPIC], typestore=STORE)
        connection = writer.add_connection("/chatter", "std_msgs/msg/String", typestore=STORE)
        text = STORE.types["std_msgs/msg/String"]("hello")
        writer.write(connection, START, STORE.serialize_cdr(text, text.__msgtype__).tobytes())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bags of both kinds, prompts and weights."""
    folder = tmp_path_factory.mktemp("bag")
    write_bag(folder / "mcap", StoragePlugin.MCAP)
    write_bag(folder / "sqlite3", StoragePlugin.SQLITE3)
    (folder / "prompts.yaml").write_text(PROMPTS)
    write_random_checkpoint(folder / "pico.safetensors")
    return folder


def arguments(
    folder: Path, bag: str, out: Path, prompts: str = "prompts.yaml", topic: str = TOPIC
) -> list[str]:
    return [
        str(folder / bag),
        *("--topic", topic),
        *("--prompts", str(folder / prompts)),
        *("--checkpoint", str(folder / "pico.safetensors")),
        *("--out", str(out)),
    ]


Contents = dict[str, list[tuple[int, Any]]]


def read(path: Path) -> Contents:
    """All messages of a bag by topic, each with its time."""
    contents: Contents = {}
    with AnyReader([path]) as reader:
        for connection, stamp, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            contents.setdefault(connection.topic, []).append((stamp, message))
    return contents


def texts(messages: list[tuple[int, Any]]) -> list[tuple[int, str]]:
    """Messages of two bags to be compared; as objects they differ in type."""
    return [(stamp, str(message)) for stamp, message in messages]


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


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize(
    ("topic", "problem"),
    [
        ("/camera", "is not in it"),
        ("/chatter", "is std_msgs/msg/String"),
        ("/silent", "has no images"),
    ],
)
def test_a_topic_without_images_is_named_with_those_that_have_some(
    folder: Path, tmp_path: Path, storage: str, topic: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(folder, storage, tmp_path / "out", topic=topic)) == 1
    assert f"topic {topic} {problem}; allowed: {TOPIC}, {TOPIC}/compressed\n" in error(capsys)
    assert not (tmp_path / "out").exists()


def test_an_id_too_large_for_an_image_of_labels_is_refused_with_images(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "large.yaml").write_text("prompts: [{object: 65536, frame: 29, points: [[64, 48]]}]")
    given = arguments(folder, "mcap", tmp_path / "out", prompts="large.yaml")
    assert main([*given, "--images"]) == 1
    assert "large.yaml:1: object 65536; allowed with --images: 1 to 65535" in error(capsys)
    assert not (tmp_path / "out").exists()
    assert main(given) == 0
    assert read(tmp_path / "out")["/sam2/masks"][-1][1].objects[0].id == 65536


@pytest.mark.parametrize("prefix", ["my topic", "sam2", "/left//sam2", "/2nd", "~/sam2", "/a-b/"])
def test_a_prefix_that_makes_no_topics_is_refused(
    folder: Path, tmp_path: Path, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*arguments(folder, "mcap", tmp_path / "out"), "--prefix", prefix])
    assert f"argument --prefix: '{prefix}' cannot begin the name of a topic; allowed: names" in error(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("frame: 99, points: [[1, 1]]", "bad.yaml:1: frame 99 is not in the bag; allowed: 0 to 29"),
        ("time: 4, points: [[1, 1]]", "bad.yaml:1: time 4 s is not in the bag; allowed: 0 to 0.967"),
        ("frame: 0, points: [[999, 1]]", "bad.yaml:1: point (999, 1); allowed: 0 <= x <= 480"),
        ("frame: 0, point: [[9, 1]]", "bad.yaml:1: unknown field 'point'; allowed: object,"),
    ],
)
def test_a_mistake_in_the_prompts_is_told(
    folder: Path, tmp_path: Path, prompt: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.yaml").write_text("prompts: [{object: 1, " + prompt + "}]")
    assert main(arguments(folder, "mcap", tmp_path / "out", prompts="bad.yaml")) == 1
    assert message in error(capsys)


def test_each_unusable_bag_is_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(folder, "none", tmp_path / "out")) == 1
    assert "none: no such bag" in error(capsys)
    data = (folder / "mcap" / "mcap.mcap").read_bytes()
    (folder / "cut.mcap").write_bytes(data[: len(data) // 2])
    assert main(arguments(folder, "cut.mcap", tmp_path / "out")) == 1
    assert "cut.mcap: not a readable bag (" in error(capsys)


def test_no_recording_but_its_own_is_written_over(
    folder: Path, written: Contents, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = write_bag(tmp_path / "monday", StoragePlugin.MCAP) / "monday.mcap"
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(recorded, alone)
    film = shutil.copytree(recorded.parent, tmp_path / "film")
    (film / "run.json").write_text('{"video": "clip.mp4, 30 frames"}')
    own = shutil.copytree(folder / "out", tmp_path / "own")
    before = files(tmp_path)
    for bag, topic, out, told in (
        (recorded, TOPIC, recorded.parent, "monday holds the bag to read"),
        (own, "/sam2/overlay", own, "own holds the bag to read"),
        (recorded.parent, TOPIC, alone, "alone holds monday.mcap, which this tool did not write"),
        (recorded.parent, TOPIC, film, "film holds metadata.yaml, which this tool did not write"),
    ):
        assert main([*arguments(folder, str(bag), out, topic=topic), "--restart"]) == 1
        assert f"{told}; allowed: another folder" in error(capsys)
    assert files(tmp_path) == before


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_replaces_the_one_before_and_nothing_else(tmp_path: Path, storage: str) -> None:
    messages = Messages()
    out = tmp_path / "out"
    others = {out / "tuesday.mcap", out / "tuesday.db3"}

    def write(count: int, storage: str) -> None:
        with BagWriter(out, storage, messages.typestore, min_free=0) as writer:
            for _ in range(count):
                writer.write("/a", messages.masks(messages.header(header(0)), []), START)
        assert sum(map(len, read(out).values())) == count

    write(3, "mcap")
    for path in others:
        path.touch()
    write(2, storage)
    bag = {out / "metadata.yaml", out / ("out.mcap" if storage == "mcap" else "out.db3")}
    assert set(out.iterdir()) == bag | others
    (out / "metadata.yaml").write_bytes(b"")  # as a power cut leaves it
    write(1, storage)
    assert set(out.iterdir()) == bag | others


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


def test_a_run_with_other_prompts_does_not_mix_with_the_old_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "other.yaml").write_text("prompts: [{object: 1, frame: 0, points: [[64, 48]]}]")
    assert main(arguments(folder, "mcap", tmp_path / "out", prompts="other.yaml")) == 0
    assert main(arguments(folder, "mcap", tmp_path / "out")) == 1
    assert "holds a run with another prompts file; allowed: another folder, or --restart" in error(capsys)
    assert main([*arguments(folder, "mcap", tmp_path / "out"), "--restart"]) == 0


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


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_that_was_given_up_holds_what_was_written(tmp_path: Path, storage: str) -> None:
    messages = Messages()

    def write_and_give_up() -> None:
        with BagWriter(tmp_path / "out", storage, messages.typestore, min_free=0) as writer:
            writer.write("/a", messages.masks(messages.header(header(0)), []), START)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_give_up()
    ((stamp, message),) = read(tmp_path / "out")["/a"]
    assert stamp == START
    assert message.header.frame_id == "camera_optical"
    with BagWriter(tmp_path / "out", "mcap", messages.typestore, min_free=0):
        pass
    assert read(tmp_path / "out") == {}
