"""`sam2-bag`: the tracker node's outputs for the images of a recorded bag, without ROS and without haste."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from ..model import CheckpointError
from ..tracking import FrameResult, ObjectResult, PromptError, StreamingTracker, TrackedObject, TrackerOptions
from .bag_files import BagError, BagImage, BagImages, BagWriter
from .bag_messages import MessageDefinitionsError, Messages, nanoseconds
from .network import add_network_options, load_given_network
from .program import run_program
from .prompts_file import FORMAT, FilePrompt, PromptsFileError, read_prompts

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
  <prefix>/overlay/compressed           sensor_msgs/msg/CompressedImage     (with --images)

Frames are counted on the topic from 0; a time counts from the recording of the topic's first image.

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
        errors=(BagError, CheckpointError, MessageDefinitionsError, PromptsFileError),
        explain=lambda error: (
            f"cannot write {error.filename or given.out}: {error.strerror}. "
            f"What was written so far can be read from {given.out}"
        ),
        interrupted=f"{given.out} holds what was tracked so far",
    )


def _track(given: argparse.Namespace) -> None:
    prompts = read_prompts(given.prompts).prompts
    tracker = StreamingTracker(
        load_given_network(given),
        TrackerOptions(max_objects=len({one.object_id for one in prompts})),
    )
    messages = Messages()
    with BagImages(given.bag, given.topic) as images:
        for one in prompts:
            if not one.moment.is_time and one.moment.value >= len(images):
                raise one.fails(
                    f"frame {one.moment.value:g} is not in the bag; allowed: 0 to {len(images) - 1}"
                )
        with BagWriter(given.out, given.storage, messages.typestore, given.min_free * 2**20) as writer:
            outputs = _Outputs(writer, messages, given.prefix.rstrip("/"), given.images)
            session = _Session(tracker, prompts)
            for index, image in enumerate(tqdm(images, total=len(images), desc="tracking", unit="image")):
                outputs.write(image, session.take(index, image), session.since)
            session.finish()


class _Session:
    """The tracker with the file's prompts, which are given on their frames.

    Objects have the file's ids outside, and the tracker's own inside.
    """

    def __init__(self, tracker: StreamingTracker, prompts: Iterable[FilePrompt]) -> None:
        self._tracker = tracker
        self._waiting = list(prompts)
        self._seconds = 0.0
        self._start: int | None = None
        self._ids: dict[int, int] = {}  # the tracker's by the file's
        self.since: dict[int, int] = {}
        """For each id of the file, the stamp of the object's first prompted image [ns]."""

    def take(self, index: int, image: BagImage) -> FrameResult:
        """Tracks the next image and gives it its prompts."""
        self._start = image.stamp if self._start is None else self._start
        self._seconds = (image.stamp - self._start) / 1e9
        result = self._tracker.track(image.rgb, index)
        outside = {inside: outside for outside, inside in self._ids.items()}
        found = {outside[one.id]: one for one in result.objects}
        for one in [one for one in self._waiting if one.moment.is_reached(index, self._seconds)]:
            self._waiting.remove(one)
            found[one.object_id] = self._prompt(one)
            self.since.setdefault(one.object_id, nanoseconds(image.header.stamp))
        objects = tuple(replace(found[key], id=key) for key in sorted(found))
        return FrameResult(image.stamp, result.size, objects)

    def finish(self) -> None:
        """Raises PromptsFileError for a prompt that is meant after the last image."""
        for one in self._waiting:
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
        self._announced: list[tuple[int, str]] = []

    def write(self, image: BagImage, result: FrameResult, since: Mapping[int, int]) -> None:
        """Writes what is known of one image; since: see `_Session.since`."""
        make, objects = self._messages, result.objects
        header = make.header(image.header)
        known = [(one.id, one.label) for one in objects]
        if known != self._announced:
            self._announced = known
            identities = [TrackedObject(one.id, one.label, since[one.id]) for one in objects]
            self._add("objects", make.tracked(header, identities), image.stamp, latched=True)
        self._add("masks", make.masks(header, objects), image.stamp)
        for one in objects:
            self._add(f"objects/id_{one.id}/visibility", make.visibility(header, one), image.stamp)
        if self._images:
            for one in objects:
                self._add(f"objects/id_{one.id}/mask", make.mask_image(header, one), image.stamp)
            self._add("labels", make.labels(header, result), image.stamp)
            self._add("overlay/compressed", make.overlay(header, image.rgb, result), image.stamp)

    def _add(self, topic: str, message: object, stamp: int, latched: bool = False) -> None:
        self._writer.write(f"{self._prefix}/{topic}", message, stamp, latched)


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
    parser.add_argument("--images", action="store_true", help="write the masks as images, and the overlay")
    parser.add_argument(
        "--prefix", default="/sam2", metavar="NAME", help="of the topics written (default: %(default)s)"
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
    add_network_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
