"""The service that finds everything on an image, and starts to track it where that is asked for.

It does so in steps between which frames are tracked.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from std_msgs.msg import Header

from sam2_core.automatic import AutomaticMask, AutomaticMaskGenerator, AutomaticOptions
from sam2_core.automatic.generator import Search
from sam2_core.masks import tight_box
from sam2_core.tracking import EncodedImage, TrackingError
from sam2_ros.camera import Camera
from sam2_ros.conversions import mask_message, object_mask_message
from sam2_ros.images import rgb_from_image
from sam2_ros.services import Session, answered, create_service
from sam2_ros.srv import GenerateMasks

_POINTS_PER_STEP = 8
"""Few, since frames wait for the end of a step."""


class GenerationService:
    """`generate_masks` under a camera's prefix."""

    def __init__(self, node: Any, session: Session, camera: str, prefix: str) -> None:
        self._session = session
        self._camera = camera
        self._logger = node.get_logger()
        create_service(node, GenerateMasks, f"{prefix}generate_masks", self._generate)

    @answered
    async def _generate(self, request: GenerateMasks.Request, response: GenerateMasks.Response) -> Any:
        camera = self._session.camera(self._camera)
        options = options_of(request)
        generator = AutomaticMaskGenerator(self._session.backend(), options)
        response.header, response.masks = await self._session.in_inference_thread(
            lambda: _generate(generator, camera, request)
        )
        if not generator.tally.found:
            response.message = generator.tally.explain(options)
        return response


def options_of(request: GenerateMasks.Request) -> AutomaticOptions:
    """The options that a request asks for; 0 leaves the default, a negative quality lets all pass.

    Raises TrackingError.
    """
    default = AutomaticOptions()
    try:
        return AutomaticOptions(
            points_per_side=request.points_per_side or default.points_per_side,
            points_per_batch=_POINTS_PER_STEP,
            predicted_iou=max(0.0, request.predicted_iou or default.predicted_iou),
            stability=max(0.0, request.stability or default.stability),
            min_area=request.min_area,
        )
    except ValueError as error:
        raise TrackingError(str(error)) from error


def _generate(
    generator: AutomaticMaskGenerator, camera: Camera, request: GenerateMasks.Request
) -> Generator[None, None, tuple[Header, list[Any]]]:
    if len(request.image.data):
        if request.track:
            raise TrackingError("track is set and an image is given; allowed: track on the newest frame")
        found = yield from _found(generator.steps(rgb_from_image(request.image)))
        return request.image.header, _messages(found)
    with camera.keep_newest_frame() as (header, frame):
        encoded = EncodedImage(frame.features, frame.size)
        found = yield from _found(generator.steps(frame.image, encoded))
        if not request.track:
            return header, _messages(found)
        started = []
        for result in camera.start_masklets(found, frame):
            started.append(object_mask_message(result))
            yield
        return header, started


def _found(search: Search) -> Generator[None, None, list[AutomaticMask]]:
    """A search without its figures."""
    while True:
        try:
            next(search)
        except StopIteration as end:
            found: list[AutomaticMask] = end.value
            return found
        yield


def _messages(found: list[AutomaticMask]) -> list[Any]:
    return [
        mask_message(
            one.mask,
            tight_box(one.mask),
            id=number,
            label="",
            score=one.score,
            predicted_iou=one.predicted_iou,
        )
        for number, one in enumerate(found, start=1)
    ]
