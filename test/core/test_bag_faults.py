"""What `sam2-bag` refuses before it tracks, and which files it leaves alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from recorded_bags import TOPIC, arguments, read, write_bag, write_inputs
from rosbags.rosbag2 import StoragePlugin

from sam2_core.tools.bag import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("bag"))


def error(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


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
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = write_bag(tmp_path / "monday", StoragePlugin.MCAP) / "monday.mcap"
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(recorded, alone)
    film = shutil.copytree(recorded.parent, tmp_path / "film")
    (film / "run.json").write_text('{"video": "clip.mp4, 30 frames"}')
    own = tmp_path / "own"
    assert main([*arguments(folder, "mcap", own), "--images"]) == 0
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


def test_a_run_with_other_prompts_does_not_mix_with_the_old_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "other.yaml").write_text("prompts: [{object: 1, frame: 0, points: [[64, 48]]}]")
    assert main(arguments(folder, "mcap", tmp_path / "out", prompts="other.yaml")) == 0
    assert main(arguments(folder, "mcap", tmp_path / "out")) == 1
    assert "holds a run with another prompts file; allowed: another folder, or --restart" in error(capsys)
    assert main([*arguments(folder, "mcap", tmp_path / "out"), "--restart"]) == 0


def test_another_bag_of_the_same_name_does_not_get_the_masks_of_the_former(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = shutil.copytree(folder / "mcap", tmp_path / "mcap")
    given = arguments(folder, str(bag), tmp_path / "out")
    assert main(given) == 0
    write_bag(tmp_path / "newer", StoragePlugin.MCAP)
    (tmp_path / "newer" / "newer.mcap").replace(bag / "mcap.mcap")
    assert main(given) == 1
    assert "holds a run with another bag; allowed: another folder, or --restart" in error(capsys)
