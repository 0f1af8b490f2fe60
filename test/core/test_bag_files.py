"""Bags as `BagWriter` leaves them: what it was given, and nothing else harmed."""

from __future__ import annotations

from pathlib import Path

import pytest
from recorded_bags import START, header, read

from sam2_core.tools.bag_files import BagWriter
from sam2_core.tools.bag_messages import Messages


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
