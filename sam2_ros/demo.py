"""The main job on this machine: a camera, the tracker, a client that prompts it and a recorder.

Each is a process of its own, and they talk over the real middleware. `python -m sam2_ros.demo --help`.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from sam2_core.backends import BACKENDS
from sam2_core.scenes.rendering import RenderingUnavailableError
from sam2_core.video import FrameReader, VideoError
from sam2_ros.camera_simulator import MAX_OBJECTS, load_clip
from sam2_ros.demo_pictures import write_overview, write_video
from sam2_ros.demo_report import Report, load_clicks, make_report
from sam2_ros.processes import ProcessDiedError, Programs, ros_arguments
from sam2_ros.recording import Progress, Recording

_IMAGES, _TRUTH = "/camera/image_raw", "/camera/ground_truth/labels"
_CLICKS = "clicks.json"
_LISTENERS = 3  # to the images: tracker, client, recorder
_POLL = 0.1  # [s]
_QUIET = 3.0  # [s] without a new image at the end, in which the last counts arrive: they come once a second


class DemoError(RuntimeError):
    """Why there is no result, in one line."""


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="demo.sh", description="Tracks objects in a camera's images.")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--video", metavar="FILE", help="a video file or image folder instead of the built-in camera"
    )
    source.add_argument("--camera", metavar="DEVICE", help="a camera, as /dev/video0")
    parser.add_argument("--frames", type=_positive, default=300, metavar="N", help="frames to film (300)")
    parser.add_argument("--objects", type=_positive, default=3, metavar="N", help="objects to track (3)")
    parser.add_argument(
        "--click",
        type=_click,
        action="append",
        default=[],
        metavar="X,Y[,LABEL]",
        help="an object of the first frame, in pixels; for --video and --camera, repeatable; one label twice "
        "is one object with two clicks. Without it the network looks for things to click",
    )
    parser.add_argument(
        "--model", default="", metavar="NAME", help="(the checkpoint's; sam2_pico without one)"
    )
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="weights (the bundled ones)")
    parser.add_argument("--backend", choices=BACKENDS, default="auto", help="what runs the network (auto)")
    parser.add_argument("--out", type=Path, default=Path("demo_output"), metavar="DIR", help="(demo_output)")
    options = parser.parse_args(arguments)
    if options.click and not (options.video or options.camera):
        parser.error("--click needs --video or --camera; the built-in camera is clicked by its ground truth")
    return options


def run(options: argparse.Namespace) -> Report:
    """Runs everything and writes the results into options.out.

    Raises DemoError, VideoError, RenderingUnavailableError or ProcessDiedError.
    """
    if options.checkpoint and not options.checkpoint.is_file():
        raise DemoError(f"--checkpoint {options.checkpoint}: no such file")
    out: Path = options.out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoError(f"--out {out}: {error.strerror}") from error
    source = _source(options)
    directory = out / "recording"
    shutil.rmtree(directory, ignore_errors=True)
    try:
        with Programs(out / "logs") as programs:
            memory = _film(programs, options, source, directory)
        recording = Recording.load(directory)
        clicks = load_clicks(directory / _CLICKS)
        if not any(frame.objects for frame in recording.frames):
            raise DemoError(
                f"no object was tracked in {source.length} frames: none came into view, or the clicks came "
                f"too late for this machine (try more --frames); logs: {out / 'logs'}"
            )
        report = make_report(source.description, recording, clicks, memory)
        report.save(out / "report.json")
        write_video(out / "overlay.mp4", recording.frames, clicks)
        write_overview(out / "overview.png", recording.frames, clicks, report)
        return report
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@dataclass(frozen=True)
class _Source:
    """What is filmed, and by which program."""

    description: str
    module: str
    parameters: dict[str, object]
    names: tuple[str, ...]  # of the objects in the ground truth; empty without
    length: int  # frames that it will publish
    film: Path | None = None  # what can be looked at beforehand


def _source(options: argparse.Namespace) -> _Source:
    if options.video or options.camera:
        reader = FrameReader(options.video or options.camera)
        length = min(options.frames, reader.length or options.frames)
        parameters = {"source": str(reader.source.resolve()), "loop": False}
        film = None if reader.is_camera else reader.source
        return _Source(str(reader.source), "sam2_ros.video_publisher", parameters, (), length, film)
    if options.objects > MAX_OBJECTS:
        raise DemoError(f"--objects {options.objects}: the built-in camera has 1 to {MAX_OBJECTS}")
    scene = load_clip(options.objects)
    height, width = scene.frames.shape[1:3]
    description = f"built-in, {width}x{height} at {scene.fps:g} Hz"
    parameters = {"objects": options.objects}
    return _Source(description, "sam2_ros.camera_simulator", parameters, scene.names, options.frames)


def _film(programs: Programs, options: argparse.Namespace, source: _Source, directory: Path) -> list[float]:
    """Runs the four processes to the last frame; returns the tracker's memory over time [MB]."""
    topics = {"image": _IMAGES, "labels": _TRUTH, "masks": "/sam2/masks"}
    tracker_parameters = {
        "image_topics": [_IMAGES],
        "model": options.model,
        "checkpoint": str(options.checkpoint.resolve()) if options.checkpoint else "",
        "backend": options.backend,
        # Before the first click frames pass at the camera's rate: a client that starts slowly has 2 s.
        "held_frames": 64,
    }
    recorder_parameters = {"directory": str(directory.resolve())}
    client_parameters = {
        "objects": options.objects,
        "names": list(source.names) or [""],
        "clicks": options.click or [""],
        "film": str(source.film.resolve()) if source.film else "",
        "clicks_file": str((directory / _CLICKS).resolve()),
    }
    camera_parameters = {**source.parameters, "frames": source.length, "wait_for_subscribers": _LISTENERS}

    tracker = programs.start("tracker", "sam2_ros.node", ros_arguments(tracker_parameters))
    recorder = programs.start("recorder", "sam2_ros.recorder", ros_arguments(recorder_parameters, topics))
    client = programs.start("client", "sam2_ros.demo_client", ros_arguments(client_parameters, topics))
    camera = programs.start("camera", source.module, ros_arguments(camera_parameters))
    memory: list[float] = []
    progress, last_news = Progress(), time.monotonic()
    with tqdm(total=source.length, desc="filming", unit="frame") as bar:
        while not camera.finished or progress.waiting or time.monotonic() - last_news < _QUIET:
            tracker.check()
            recorder.check()
            _ = client.finished  # it may, but not with an error
            before, progress = progress, Progress.of(directory)
            if progress != before:
                bar.update(progress.images - before.images)
                last_news = time.monotonic()
            if progress.images:
                memory.append(tracker.resident_memory())
            time.sleep(_POLL)
    recorder.end()
    return memory


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not allowed; a whole number from 1 on")
    return int(text)


def _click(text: str) -> str:
    parts = text.split(",", 2)
    try:
        x, y = float(parts[0]), float(parts[1])
    except (ValueError, IndexError):
        raise argparse.ArgumentTypeError(f"{text} is not X,Y or X,Y,LABEL") from None
    if min(x, y) < 0:
        raise argparse.ArgumentTypeError(f"{text} lies outside the image; X and Y count from 0")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status; prints one line where there is no result."""
    options = parse_options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        report = run(options)
    except (DemoError, VideoError, RenderingUnavailableError, ProcessDiedError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; every process has ended", file=sys.stderr)
        return 130
    print(f"results in {options.out}: overlay.mp4, overview.png, report.json\n\n{report.table()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
