"""Any frame of a recorded video, in any order; what is missing or damaged is named."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import ExifTags, Image

from sam2_core.video import FrameReader, VideoError
from sam2_core.video_frames import FileFrames, open_frames

COUNT, RATE = 60, 25


def picture(index: int) -> np.ndarray:
    """A textured picture whose brightness tells its number."""
    noise = np.random.default_rng(index).integers(0, 12, (48, 64, 3))
    return (20 + 3 * index + noise).astype(np.uint8)


def number(image: np.ndarray) -> int:
    return round((float(image.mean()) - 25.5) / 3)


def write(
    path: Path, codec: str = "libx264", key_interval: int = 12, b_frames: int = 2, title: str = "untitled"
) -> Path:
    with av.open(str(path), "w") as container:
        container.metadata["title"] = title
        stream = container.add_stream(codec, rate=RATE)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.gop_size, stream.max_b_frames = key_interval, b_frames
        if codec == "libx264":
            stream.options = {"crf": "12", "sc_threshold": "0"}
        else:
            stream.bit_rate = 2_000_000
        for index in range(COUNT):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("clips") / "clip.mp4")


@pytest.mark.parametrize(
    ("name", "codec", "b_frames"),
    [
        ("a.mp4", "libx264", 2),
        ("a.mkv", "libx264", 2),
        ("a.avi", "mpeg4", 0),
        ("b_frames.avi", "libx264", 2),
        ("raw.h264", "libx264", 2),
        ("a.webm", "libvpx", 0),
    ],
)
def test_every_frame_is_found_in_any_order(tmp_path: Path, name: str, codec: str, b_frames: int) -> None:
    frames = open_frames(write(tmp_path / name, codec, b_frames=b_frames))
    assert len(frames) == COUNT
    assert frames.early_end == ""
    steps = np.diff([frames.stamp(index) for index in range(COUNT)])
    assert steps == pytest.approx(1_000_000_000 / RATE, abs=2_000_000)  # Matroska counts milliseconds
    order = [*np.random.default_rng(0).permutation(COUNT), *range(COUNT), *range(COUNT - 1, -1, -1)]
    assert [number(frames.image(int(index))) for index in order] == order


def test_pictures_and_times_are_those_of_playing_the_file(clip: Path) -> None:
    frames = open_frames(clip)
    for index, played in enumerate(FrameReader(clip)):
        assert frames.stamp(index) == pytest.approx(played.stamp, abs=1)
        assert np.array_equal(frames.image(index), played.image)


def test_a_title_in_an_old_encoding_does_no_harm(tmp_path: Path) -> None:
    path = write(tmp_path / "titled.mkv", title="Strassenbahn")
    content = path.read_bytes()
    assert content.count(b"Strassenbahn") == 1
    path.write_bytes(content.replace(b"Strassenbahn", "Straßenbahn ".encode("latin-1")))
    assert number(open_frames(path).image(5)) == 5
    assert [number(frame.image) for frame in FrameReader(path)] == list(range(COUNT))


def test_what_is_kept_in_memory_is_bounded(clip: Path) -> None:
    frames = FileFrames(clip, cache_bytes=5 * 48 * 64 * 3)
    for index in (*range(COUNT), *range(COUNT - 1, -1, -1)):
        assert number(frames.image(index)) == index
        assert len(frames._cache) <= 5


@pytest.mark.parametrize("names", [["000", "001", "002"], ["9", "10", "11"], ["a", "a10", "a9"]])
def test_a_folder_is_read_in_order_of_number_or_name(tmp_path: Path, names: list[str]) -> None:
    for index in (2, 0, 1):
        Image.fromarray(picture(index)).save(tmp_path / f"{names[index]}.png")
    frames = open_frames(tmp_path, folder_rate=10)
    assert [number(frames.image(index)) for index in (2, 0, 1)] == [2, 0, 1]
    assert [frames.stamp(index) for index in range(len(frames))] == [0, 100_000_000, 200_000_000]


def test_a_telephones_picture_in_a_folder_stands_upright(tmp_path: Path) -> None:
    sideways = np.zeros((40, 80, 3), np.uint8)
    sideways[:20] = 250
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned clockwise: what is on top belongs on the right
    Image.fromarray(sideways).save(tmp_path / "0.jpg", exif=exif)
    (played,) = FrameReader(tmp_path)
    for image in (open_frames(tmp_path).image(0), played.image):
        assert image.shape == (80, 40, 3)
        assert image[:, 22:].mean() > 200 > 50 > image[:, :18].mean()


def test_a_file_that_ends_early_says_so_and_keeps_its_frames(tmp_path: Path) -> None:
    whole = tmp_path / "whole.mp4"
    with av.open(str(write(tmp_path / "tail.mp4"))) as source:
        stream = source.streams.video[0]
        with av.open(str(whole), "w", options={"movflags": "+faststart"}) as target:
            copy = target.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.size:
                    packet.stream = copy
                    target.mux(packet)
    data = whole.read_bytes()
    short = tmp_path / "short.mp4"
    short.write_bytes(data[: len(data) * 2 // 3])
    frames = open_frames(short)
    assert 10 < len(frames) < COUNT
    assert f"ends early, after {len(frames)} of {COUNT} frames" in frames.early_end
    # The last ones may refer to frames that are gone.
    assert [number(frames.image(index)) for index in range(len(frames) - 4)] == [*range(len(frames) - 4)]


def start_later(clip: Path, frame: int, target: Path) -> None:
    """Leaves out the frames before one without encoding anything anew, as FFmpeg's `-ss` and `-c copy` do."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as trimmed:
        stream = source.streams.video[0]
        copy = trimmed.add_stream_from_template(stream)
        assert stream.time_base is not None
        offset = round(frame / RATE / stream.time_base)
        first = frame // 12 * 12 - frame  # the key frame before it
        for packet in source.demux(stream):
            if packet.size and packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts = packet.pts - offset, packet.dts - offset
                if packet.pts * stream.time_base >= Fraction(first, RATE):
                    packet.stream = copy
                    trimmed.mux(packet)


def end_earlier(clip: Path, frames: int, target: Path) -> None:
    """Leaves out all but the first frames as telephones do, by the edit list (ISO 14496-12, 8.6.6)."""
    data = bytearray(clip.read_bytes())
    start = data.index(b"elst") + 4 + 4 + 4  # after version, flags and the number of entries
    whole = int.from_bytes(data[start : start + 4], "big")
    data[start : start + 4] = (whole * frames // COUNT).to_bytes(4, "big")
    target.write_bytes(data)


def test_a_trimmed_film_is_not_taken_for_one_that_ends_early(clip: Path, tmp_path: Path) -> None:
    start_later(clip, 20, tmp_path / "start.mp4")
    end_earlier(clip, 30, tmp_path / "end.mp4")
    end_earlier(clip, 24, tmp_path / "end_at_key_frame.mp4")
    for name, expected in (
        ("start.mp4", range(20, COUNT)),
        ("end.mp4", range(30)),
        ("end_at_key_frame.mp4", range(24)),
    ):
        frames = open_frames(tmp_path / name)
        assert frames.early_end == ""
        assert [number(frames.image(index)) for index in range(len(frames))] == [*expected]


def test_a_damaged_middle_is_named_and_the_rest_is_readable(clip: Path, tmp_path: Path) -> None:
    with av.open(str(clip)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        places = {packet.pts: (packet.pos, packet.size) for packet in packets}
    start, size = places[sorted(places)[30]]
    assert start is not None
    data = bytearray(clip.read_bytes())
    data[start + 5 : start + size] = bytes(255 - byte for byte in data[start + 5 : start + size])
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    frames = open_frames(damaged)
    assert len(frames) == COUNT
    assert [number(frames.image(index)) for index in range(24)] == [*range(24)]
    with pytest.raises(VideoError, match=r"damaged\.mp4: frame 30 \(1\.20 s\) cannot be decoded"):
        frames.image(30)
    assert [number(frames.image(index)) for index in range(48, COUNT)] == [*range(48, COUNT)]


def test_each_unreadable_source_is_named_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"missing\.mp4: no such file or folder"):
        open_frames(tmp_path / "missing.mp4")
    (tmp_path / "text.mp4").write_text("this is not a film")
    with pytest.raises(VideoError, match=r"text\.mp4: not a readable video"):
        open_frames(tmp_path / "text.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match="empty: no image in this folder"):
        open_frames(tmp_path / "empty")
    (tmp_path / "empty" / "bad.png").write_bytes(b"nothing")
    with pytest.raises(VideoError, match=r"bad\.png: not a readable image"):
        open_frames(tmp_path / "empty").image(0)
