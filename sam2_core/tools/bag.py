"""`sam2-bag`: the tracker node's outputs for the images of a recorded bag, without ROS and without haste."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..drawing import draw_overlay
from ..files import describe_files
from ..model import CheckpointError
from ..tracking import FrameResult, ObjectResult, PromptError, StreamingTracker, TrackedObject, TrackerOptions
from ..tracking.tracker import MAX_ID
from .bag_files import BagError, BagImage, BagImages, BagWriter, recordings, require_free
from .bag_messages import MessageDefinitionsError, Messages, nanoseconds
from .journal import FoundObject, Journal
from .network import (
    add_backend_options,
    add_correction_option,
    add_network_options,
    describe_network,
    load_given_backend,
)
from .program import run_program
from .prompts_file import FORMAT, FilePrompt, PromptsFileError, read_prompts
from .run import Run, RunError, is_run

_SECOND, _MEGABYTE = 1_000_000_000, 2**20
_DESCRIPTION = """\
Tracks objects through the images of a ROS 2 bag, as the node sam2 would have done live, but without leaving
out a frame, and writes what the node would have published as a new bag. ROS is not needed.

IN is a bag's folder, or a single .mcap or .db3 file. Objects are tracked from their first prompt to the end.
"""
_EPILOG = (
    """\
written to OUT, a bag's folder, every message with the header and the time of its image:
  <prefix>/masks                        sam2_ros/msg/ObjectMasks
  <prefix>/objects                      sam2_ros/msg/TrackedObjects, whenever there are new ones
  <prefix>/objects/id_<N>/visibility    sam2_ros/msg/ObjectVisibility
  <prefix>/objects/id_<N>/mask          sensor_msgs/msg/Image, mono8        (with --images)
  <prefix>/labels                       sensor_msgs/msg/Image, 16UC1        (with --images)
  <prefix>/overlay                      sensor_msgs/msg/Image, rgb8         (with --images)
  <prefix>/overlay/compressed           sensor_msgs/msg/CompressedImage     (with --images)

Frames are counted on the topic from 0; a time counts from the recording of the topic's first image.

While the bag is tracked, the masks are kept in OUT/tracks.jsonl; the bag is written at the end, and also when
the run is interrupted (Ctrl-C, a damaged bag, a full disk). Given again, the same command goes on.
Recordings are safe: OUT is refused if it holds any that this tool did not write.

"""
    + FORMAT
    + """
examples:
  sam2-bag kitchen/ --topic /camera/image_raw --prompts prompts.yaml --out kitchen_masks/
  sam2-bag run.mcap --topic /camera/image_raw/compressed --prompts p.yaml --out masks/ --images
"""
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status: 0, or another one after an error was told."""
    given = _parser().parse_args(arguments)
    return run_program(
        "sam2-bag",
        lambda: _track(given),
        errors=(BagError, CheckpointError, MessageDefinitionsError, PromptsFileError, RunError),
        explain=lambda error: (
            f"cannot write {error.filename or given.out}: {error.strerror}. "
            f"What was written so far can be read from {given.out}; the same command goes on from there"
        ),
        interrupted=f"{given.out} holds what was tracked so far; the same command goes on from here",
    )


def _track(given: argparse.Namespace) -> None:
    file = read_prompts(given.prompts)
    _check_out(given.out, given.bag)
    loaded = load_given_backend(given)
    messages = Messages()
    with BagImages(given.bag, given.topic) as images:
        _check(file.prompts, images, given.images)
        files = [given.bag, *(given.bag / name for name in recordings(given.bag))]
        identity = {
            "bag": f"{given.bag.resolve()}, {len(images)} images on {given.topic}, {describe_files(files)}",
            "prompts file": file.digest,
            "model": describe_network(loaded.network),
            "lasting corrections": given.lasting_corrections,
        }
        run = Run(given.out, identity, given.restart, given.device)
        tracker = StreamingTracker(loaded.backend, _options(file.prompts, given.lasting_corrections))
        session = _Session(tracker, file.prompts, run.state)
        reserve = given.min_free * _MEGABYTE
        with run.journal as journal:
            try:
                results = session.results(images.read(journal.lines), journal.lines)
                run.record(_with_room(results, journal, reserve), len(images), session.save, "image")
            finally:
                if journal.lines:
                    with BagWriter(given.out, given.storage, messages.typestore, reserve) as writer:
                        outputs = _Outputs(writer, messages, given.prefix, given.images)
                        outputs.write_all(images, journal)
        session.finish()


def _check_out(out: Path, bag: Path) -> None:
    """Raises BagError for a folder with recordings that the bag to write could replace."""
    source = bag.resolve()
    if out.resolve() == (source if source.is_dir() else source.parent):
        raise BagError(f"{out} holds the bag to read; allowed: another folder")
    if (found := recordings(out)) and not is_run(out, "bag"):
        raise BagError(f"{out} holds {found[0]}, which this tool did not write; allowed: another folder")


def _check(prompts: Iterable[FilePrompt], images: BagImages, labels: bool) -> None:
    """Raises PromptsFileError for a prompt that does not fit the bag, as far as its first image tells.

    labels: whether images of labels will be written.
    """
    first = next(images.read())
    for one in prompts:
        if labels and one.object_id > MAX_ID:
            raise one.fails(f"object {one.object_id}; allowed with --images: 1 to {MAX_ID}")
        if not one.moment.is_time and one.moment.value >= len(images):
            raise one.fails(f"frame {one.moment.value:g} is not in the bag; allowed: 0 to {len(images) - 1}")
        try:
            one.prompt.check(first.rgb.shape[:2])
        except PromptError as error:
            raise one.fails(error) from error


def _options(prompts: Iterable[FilePrompt], lasting_corrections: bool) -> TrackerOptions:
    """Room for the file's objects."""
    objects = len({one.object_id for one in prompts})
    return TrackerOptions(max_objects=objects, lasting_corrections=lasting_corrections)


def _with_room(
    results: Iterable[tuple[int, FrameResult]], journal: Journal, reserve: int
) -> Iterator[tuple[int, FrameResult]]:
    """The results, as long as the disk has room for a bag of what the journal holds."""
    for result in results:
        require_free(journal.path.parent, reserve + journal.size)
        yield result


class _Session:
    """The tracker with the file's prompts, which are given on their frames.

    Objects have the file's ids outside, and the tracker's own inside.
    """

    def __init__(self, tracker: StreamingTracker, prompts: Sequence[FilePrompt], saved: Any) -> None:
        """saved: what `save` gave in the run that goes on; None in a new one."""
        self._tracker = tracker
        self._prompts = prompts
        self._start: int | None = None
        self._seconds = 0.0
        self._given: dict[int, int] = {}  # on which frame, by the prompt's place in the file
        self._ids: dict[int, int] = {}  # the tracker's by the file's
        if saved is not None:
            self._start, self._given, self._ids = saved["start"], saved["given"], saved["ids"]
            tracker.restore(saved["tracker"])

    def results(self, images: Iterable[BagImage], first: int) -> Iterator[tuple[int, FrameResult]]:
        """Tracks the images from the `first` one on, and gives them their prompts."""
        for index, image in enumerate(images, start=first):
            self._start = image.stamp if self._start is None else self._start
            self._seconds = (image.stamp - self._start) / _SECOND
            result = self._tracker.track(image.rgb, index)
            outside = {inside: outside for outside, inside in self._ids.items()}
            found = {outside[one.id]: one for one in result.objects}
            for place, one in enumerate(self._prompts):
                if place not in self._given and one.moment.is_reached(index, self._seconds):
                    self._given[place] = index
                    found[one.object_id] = self._prompt(one)
            objects = tuple(replace(found[key], id=key) for key in sorted(found))
            yield index, FrameResult(image.stamp, result.size, objects)

    def save(self, frames: int) -> dict[str, Any]:
        """All that the run needs to go on after so many frames."""
        given = {place: frame for place, frame in self._given.items() if frame < frames}
        prompted = {self._prompts[place].object_id for place in given}
        ids = {outside: inside for outside, inside in self._ids.items() if outside in prompted}
        return {"start": self._start, "given": given, "ids": ids, "tracker": self._tracker.save(frames)}

    def finish(self) -> None:
        """Raises PromptsFileError for a prompt that is meant after the last image."""
        for place, one in enumerate(self._prompts):
            if place not in self._given:
                raise one.fails(
                    f"time {one.moment.value:g} s is not in the bag; allowed: 0 to {self._seconds:.3f}. "
                    "All the others were tracked"
                )

    def _prompt(self, one: FilePrompt) -> ObjectResult:
        known = self._ids.get(one.object_id)
        try:
            result = self._tracker.add_prompt(one.prompt, known, one.label, clear_previous=False)
        except PromptError as error:
            raise one.fails(error) from error
        self._ids[one.object_id] = result.id
        return result


class _Outputs:
    """The topics that the node would publish."""

    def __init__(self, writer: BagWriter, messages: Messages, prefix: str, images: bool) -> None:
        self._writer = writer
        self._messages = messages
        self._prefix = prefix
        self._images = images
        self._announced: list[TrackedObject] = []

    def write_all(self, images: BagImages, journal: Journal) -> None:
        """Writes all that the journal holds of a bag's images."""
        tracked = zip(journal.frames, images.read(), strict=False)
        for index, image in tqdm(tracked, total=journal.lines, desc="writing", unit="image"):
            self._write(image, *journal.read(index))

    def _write(self, image: BagImage, size: tuple[int, int], objects: Sequence[FoundObject]) -> None:
        make = self._messages
        header = make.header(image.header)
        self._announce(image, header, objects)
        self._add("masks", make.masks(header, objects), image.stamp)
        for one in objects:
            self._add(f"objects/id_{one.id}/visibility", make.visibility(header, one), image.stamp)
        if not self._images:
            return
        for one in objects:
            self._add(f"objects/id_{one.id}/mask", make.mask_image(header, one), image.stamp)
        self._add("labels", make.labels(header, size, objects), image.stamp)
        overlay = draw_overlay(image.rgb, objects)
        self._add("overlay", make.rgb_image(header, overlay), image.stamp)
        self._add("overlay/compressed", make.jpeg(header, overlay), image.stamp)

    def _announce(self, image: BagImage, header: Any, objects: Sequence[FoundObject]) -> None:
        """Tells which objects are tracked, whenever that changes."""
        since = {one.id: one.since for one in self._announced}
        now = nanoseconds(image.header.stamp)
        identities = [TrackedObject(one.id, one.label, since.get(one.id, now)) for one in objects]
        if identities != self._announced:
            self._announced = identities
            self._add("objects", self._messages.tracked(header, identities), image.stamp, latched=True)

    def _add(self, topic: str, message: object, stamp: int, latched: bool = False) -> None:
        self._writer.write(f"{self._prefix}/{topic}", message, stamp, latched)


def _prefix(text: str) -> str:
    """The beginning of a topic's full name; a slash may end it, or be all of it."""
    prefix = text.rstrip("/")
    if not re.fullmatch(r"(/[A-Za-z_][A-Za-z0-9_]*)*", prefix):
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot begin the name of a topic; "
            "allowed: names of letters, digits and underscores, no digit first, with a slash before each"
        )
    return prefix


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sam2-bag",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bag", type=Path, metavar="IN", help="the recorded bag, MCAP or sqlite3")
    parser.add_argument("--topic", required=True, metavar="T", help="its topic with the images")
    parser.add_argument("--prompts", type=Path, required=True, metavar="FILE", help="what the objects are")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder of the bag to write")
    add_correction_option(parser)
    parser.add_argument("--images", action="store_true", help="write masks, labels and overlay as images too")
    parser.add_argument(
        "--prefix",
        type=_prefix,
        default="/sam2",
        metavar="NAME",
        help="of the topics written (default: %(default)s)",
    )
    parser.add_argument(
        "--storage", choices=("mcap", "sqlite3"), default="mcap", help="of OUT (default: %(default)s)"
    )
    parser.add_argument(
        "--min-free",
        type=int,
        default=64,
        metavar="MB",
        help="stop while so much is free on the disk, so that the bag can be finished (default: %(default)s)",
    )
    parser.add_argument("--restart", action="store_true", help="forget the run that is in OUT")
    add_network_options(parser)
    add_backend_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
