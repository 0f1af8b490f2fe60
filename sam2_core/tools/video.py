"""`sam2-video`: objects that a prompts file describes, segmented through a whole video."""

from __future__ import annotations

import argparse
import bisect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..files import describe_files
from ..model import CheckpointError, Sam2Network
from ..palette import MAX_ID
from ..tracking import FrameResult, PromptError, VideoSegmenter
from ..tracking.archive import pack, unpack
from ..tracking.passes import Pass, passes_after, plan_passes
from ..video import VideoError
from ..video_frames import VideoFrames, open_frames
from .network import add_backend_options, add_network_options, describe_network, load_given_backend
from .outputs import write_coco, write_film, write_palette_images
from .program import named, run_program
from .prompts_file import FORMAT, FilePrompt, PromptsFile, PromptsFileError, read_prompts
from .run import Run, RunError

_DESCRIPTION = """\
Segments objects through a recorded video. A prompts file says what the objects are: points, boxes or masks
on some frames. Each object is then tracked to both ends of the video.

VIDEO is a file that FFmpeg reads, or a folder of images (in order of number, or else of name); either is
turned upright as it says itself.
"""
_EPILOG = (
    """\
written to DIR:
  masks/00000.png ...  one palette image a frame, as in DAVIS: a pixel's value is the object's id
  masks.json           all masks in COCO form, run-length encoded
  overlay.mp4          the video with the objects drawn on it
  tracks.jsonl         the masks as they are found; the files above are made of it at the end

An interrupted run (Ctrl-C, a full disk, a power cut) goes on when the same command is given again.

"""
    + FORMAT
    + """
examples:
  sam2-video juggle.mp4 --prompts prompts.yaml --out juggle/
  sam2-video frames/ --prompts prompts.yaml --out out/ --checkpoint sam2.1_hiera_large.pt --outputs masks
"""
)
_OUTPUTS = ("masks", "json", "overlay")
_RATES = (0.001, 1000.0)  # [Hz]
_NANOSECONDS = 1_000_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status: 0, or another one after an error was told."""
    given = _parser().parse_args(arguments)
    return run_program(
        "sam2-video",
        lambda: _segment(given),
        errors=(CheckpointError, PromptsFileError, RunError, VideoError),
        explain=lambda error: _explain(error, given.out),
        interrupted="the same command goes on from here",
    )


def _explain(error: OSError, out: Path) -> str:
    reason = f"cannot write{named(error)}: {error.strerror}"
    if not out.is_dir():
        return reason
    return (
        f"{reason}. What was found so far is in {out}; the same command goes on from there, "
        "or from some seconds before"
    )


def _segment(given: argparse.Namespace) -> None:
    if given.out.is_file():
        raise RunError(f"--out {given.out} is a file; allowed: a folder")
    file = read_prompts(given.prompts)
    frames = open_frames(given.video, given.rate)
    placed = [(_frame_of(one, frames), one) for one in file.prompts]
    loaded = load_given_backend(given)
    segmenter = VideoSegmenter(loaded.backend, frames)
    for frame, one in placed:
        try:
            segmenter.add_prompt(frame, one.prompt, one.object_id, one.label, clear_previous=False)
        except PromptError as error:
            raise one.fails(error) from error

    run = Run(given.out, _identity(given, file, frames, loaded.network), given.restart, given.device)
    first = {one.id: segmenter.prompted_frames(one.id)[0] for one in segmenter.objects}
    passes = plan_passes(first, len(frames), given.direction != "backward", given.direction != "forward")
    with run.journal:
        try:
            total = sum(len(one.frames) for one in passes)
            segmenter.restore({key: [unpack(one) for one in ones] for key, ones in (run.state or {}).items()})
            results = _results(segmenter, passes, run.journal.lines)
            run.record(results, total, lambda done: _state(segmenter, passes, done), "frame")
        except VideoError:
            if run.journal.lines:
                _write(given, run, frames)  # what lies before the damage is worth having
            raise
        _write(given, run, frames)
    if frames.early_end:
        raise VideoError(f"{frames.early_end}; these were segmented")


def _results(
    segmenter: VideoSegmenter, passes: Sequence[Pass], done: int
) -> Iterator[tuple[int, FrameResult]]:
    """Tracks what is left of the passes when `done` frames of them are done."""
    for rest in passes_after(passes, done):
        reverse = rest.frames.step < 0
        for found in segmenter.propagate(rest.frames[0], rest.frames[-1], reverse, rest.objects):
            yield found
            done += 1
            segmenter.forget_except(_reads(segmenter, passes, done))


def _state(segmenter: VideoSegmenter, passes: Sequence[Pass], done: int) -> dict[int, Any]:
    """The memories that the frames still to come will read, by object."""
    memories = segmenter.memories(_reads(segmenter, passes, done))
    return {key: [pack(one) for one in ones] for key, ones in memories.items()}


def _reads(segmenter: VideoSegmenter, passes: Sequence[Pass], done: int) -> set[int]:
    """The tracked frames that are read by those still to come when `done` frames of the passes are done."""
    reads: set[int] = set()
    for rest in passes_after(passes, done):
        reads.update(segmenter.read_behind(rest.frames[0], rest.frames.step < 0))
    return reads


def _frame_of(prompt: FilePrompt, frames: VideoFrames) -> int:
    """The number of the frame that a prompt is meant on."""
    if prompt.object_id > MAX_ID:
        raise prompt.fails(f"object {prompt.object_id}; allowed: 1 to {MAX_ID}, as a palette image holds")

    def is_reached(frame: int) -> bool:
        return prompt.moment.is_reached(frame, frames.stamp(frame) / _NANOSECONDS)

    found = bisect.bisect_left(range(len(frames)), True, key=is_reached)
    if found < len(frames):
        return found
    last = len(frames) - 1
    if prompt.moment.is_time:
        end = frames.stamp(last) / _NANOSECONDS
        raise prompt.fails(f"time {prompt.moment.value:g} s is not in the video; allowed: 0 to {end:.3f}")
    raise prompt.fails(f"frame {prompt.moment.value:g} is not in the video; allowed: 0 to {last}")


def _identity(
    given: argparse.Namespace, file: PromptsFile, frames: VideoFrames, network: Sam2Network
) -> dict[str, Any]:
    """What a run depends on; a run with the same of it can be gone on with."""
    return {
        "video": f"{given.video.resolve()}, {len(frames)} frames, {describe_files(frames.paths)}",
        "rate": given.rate,
        "prompts file": file.digest,
        "model": describe_network(network),
        "direction": given.direction,
    }


def _write(given: argparse.Namespace, run: Run, frames: VideoFrames) -> None:
    if "masks" in given.outputs:
        write_palette_images(run.journal, given.out / "masks")
    if "json" in given.outputs:
        write_coco(run.journal, given.out / "masks.json", frames)
    if "overlay" in given.outputs:
        write_film(run.journal, given.out / "overlay.mp4", frames)


def _outputs(text: str) -> list[str]:
    names = text.split(",")
    if wrong := [name for name in names if name not in _OUTPUTS]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is unknown; allowed: {', '.join(_OUTPUTS)}")
    return names


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    least, most = _RATES
    if not least <= rate <= most:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: {least:g} to {most:g}")
    return rate


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sam2-video",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("video", type=Path, metavar="VIDEO", help="video file, or folder of images")
    parser.add_argument("--prompts", type=Path, required=True, metavar="FILE", help="what the objects are")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the results go")
    parser.add_argument(
        "--direction",
        choices=("both", "forward", "backward"),
        default="both",
        help="which way objects are tracked from their first prompt (default: %(default)s)",
    )
    parser.add_argument(
        "--outputs",
        type=_outputs,
        default=list(_OUTPUTS),
        metavar="LIST",
        help=f"what to write: any of {','.join(_OUTPUTS)} (default: all)",
    )
    parser.add_argument(
        "--rate", type=_rate, default=30.0, metavar="HZ", help="of an image folder (default: %(default)g)"
    )
    parser.add_argument("--restart", action="store_true", help="forget the run that is in DIR")
    add_network_options(parser)
    add_backend_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
