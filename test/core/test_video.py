"""What is written can be read again, in order and in time; what cannot be read is named."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sam2_core.video import FrameReader, VideoError, VideoWriter

STEP = 40_000_000  # [ns], 25 Hz


def shade(index: int) -> np.ndarray:
    """A picture whose brightness tells its number."""
    return np.full((48, 64, 3), 20 + 10 * index, np.uint8)


def number(image: np.ndarray) -> int:
    return round((float(image.mean()) - 20) / 10)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, rate=25) as writer:
        for index in range(20):
            writer.write(shade(index), 5_000_000_000 + index * STEP)
    return path


def test_frames_come_back_in_order_with_their_times(clip: Path) -> None:
    reader = FrameReader(clip)
    frames = list(reader)
    assert [number(frame.image) for frame in frames] == list(range(20))
    assert [frame.stamp for frame in frames] == pytest.approx([i * STEP for i in range(20)], abs=100_000)
    assert reader.rate == pytest.approx(25, rel=0.01)
    assert frames[0].image.dtype == np.uint8
    assert frames[0].image.shape == (48, 64, 3)


def test_every_iteration_starts_at_the_first_frame(clip: Path) -> None:
    reader = FrameReader(clip)
    assert number(next(iter(reader)).image) == 0
    assert number(next(iter(reader)).image) == 0


def test_uneven_times_survive(tmp_path: Path) -> None:
    stamps = [0, 33_000_000, 200_000_000, 233_000_000]
    with VideoWriter(tmp_path / "a.mp4", rate=15) as writer:
        for index, stamp in enumerate(stamps):
            writer.write(shade(index), stamp)
    assert [frame.stamp for frame in FrameReader(tmp_path / "a.mp4")] == pytest.approx(stamps, abs=100_000)


def test_the_file_is_what_common_players_open(clip: Path) -> None:
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.frames == 20
    data = clip.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index is in front, so that a browser plays at once"


def test_an_odd_size_is_extended_by_its_own_edge(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "odd.mp4", rate=25) as writer:
        writer.write(np.full((47, 63, 3), 200, np.uint8), 0)
    (frame,) = FrameReader(tmp_path / "odd.mp4")
    assert frame.image.shape == (48, 64, 3)
    assert abs(int(frame.image.min()) - 200) < 6


def test_the_writer_names_a_wrong_size_and_a_stamp_that_falls(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", rate=25) as writer:
        writer.write(shade(0), STEP)
        with pytest.raises(ValueError, match=r"\(20, 20, 3\); the video is \(48, 64, 3\)"):
            writer.write(np.zeros((20, 20, 3), np.uint8), 2 * STEP)
        with pytest.raises(ValueError, match="does not rise"):
            writer.write(shade(1), 0)


def test_a_film_held_sideways_is_turned_upright(tmp_path: Path) -> None:
    sideways = np.zeros((48, 96, 3), np.uint8)
    sideways[:, :48] = 250  # bright on the left: on top after a quarter turn clockwise
    path = tmp_path / "telephone.mp4"
    with VideoWriter(path, rate=25) as writer:
        writer.write(sideways, 0)
    _set_clockwise_quarter_turn(path)
    (frame,) = FrameReader(path)
    assert frame.image.shape == (96, 48, 3)
    assert frame.image[:40].mean() > 200 > 50 > frame.image[56:].mean()


def _set_clockwise_quarter_turn(path: Path) -> None:
    """Writes the rotation that telephones write into the track header (ISO 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of other fields
    one = 0x00010000
    matrix = [0, one, 0, -one & 0xFFFFFFFF, 0, 0, 0, 0, 0x40000000]
    data[start : start + 36] = b"".join(value.to_bytes(4, "big") for value in matrix)
    path.write_bytes(data)


def test_a_folder_plays_in_order_of_number(tmp_path: Path) -> None:
    for index in (2, 0, 1):
        Image.fromarray(shade(index)).save(tmp_path / f"{index + 9}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    reader = FrameReader(tmp_path, folder_rate=10)
    frames = list(reader)
    assert [number(frame.image) for frame in frames] == [0, 1, 2]
    assert [frame.stamp for frame in frames] == [0, 100_000_000, 200_000_000]
    assert reader.rate == 10


def test_each_unreadable_source_is_named_with_its_reason(tmp_path: Path, clip: Path) -> None:
    with pytest.raises(VideoError, match=r"missing\.mp4: no such file"):
        FrameReader(tmp_path / "missing.mp4")
    (tmp_path / "text.mp4").write_text("this is not a film")
    with pytest.raises(VideoError, match=r"text\.mp4: not a readable video"):
        FrameReader(tmp_path / "text.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match="empty: no image in this folder"):
        FrameReader(tmp_path / "empty")
    (tmp_path / "empty" / "bad.png").write_bytes(b"nothing")
    with pytest.raises(VideoError, match=r"bad\.png: not a readable image"):
        list(FrameReader(tmp_path / "empty"))


def test_a_truncated_film_plays_what_it_has(clip: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.mp4"
    data = clip.read_bytes()
    short.write_bytes(data[: len(data) - 200])
    seen = [number(frame.image) for frame in FrameReader(short)]
    assert 0 < len(seen) < 20
    assert seen == list(range(len(seen)))
