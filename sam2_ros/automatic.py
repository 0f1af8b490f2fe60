"""The service that finds everything on an image, and starts to track it where that is asked for."""

from __future__ import annotations

from typing import Any

from std_msgs.msg import Header

from sam2_core.automatic import AutomaticMaskGenerator, AutomaticOptions
from sam2_core.tracking import EncodedImage, TrackingError
from sam2_ros.camera import Camera
from sam2_ros.conversions import mask_message, object_mask_message
from sam2_ros.images import rgb_from_image
from sam2_ros.services import Session, answered
from sam2_ros.srv import GenerateMasks


class GenerationService:
    """`generate_masks` under a camera's prefix."""

    def __init__(self, node: Any, session: Session, camera: str, prefix: str) -> None:
        self._session = session
        self._camera = camera
        self._logger = node.get_logger()
        node.create_service(GenerateMasks, f"{prefix}generate_masks", self._generate)

    @answered
    async def _generate(self, request: GenerateMasks.Request, response: GenerateMasks.Response) -> Any:
        camera = self._session.camera(self._camera)
        generator = AutomaticMaskGenerator(self._session.segmenter().backend, options_of(request))
        # One command from the frame to the tracking, so that the frame is still the newest at its end.
        response.header, response.masks = await self._session.in_inference_thread(
            lambda: _generate(generator, camera, request)
        )
        return response


def options_of(request: GenerateMasks.Request) -> AutomaticOptions:
    """The options that a request asks for; 0 leaves the default, a negative quality lets all pass.

    Raises TrackingError.
    """
    default = AutomaticOptions()
    try:
        return AutomaticOptions(
            points_per_side=request.points_per_side or default.points_per_side,
            predicted_iou=max(0.0, request.predicted_iou or default.predicted_iou),
            stability=max(0.0, request.stability or default.stability),
            min_area=request.min_area,
        )
    except ValueError as error:
        raise TrackingError(str(error)) from error


def _generate(
    generator: AutomaticMaskGenerator, camera: Camera, request: GenerateMasks.Request
) -> tuple[Header, list[Any]]:
    if len(request.image.data):
        if request.track:
            raise TrackingError("track is set and an image is given; allowed: track on the newest frame")
        header, found = request.image.header, generator.generate(rgb_from_image(request.image))
    else:
        header, frame = camera.newest_frame()
        found = generator.generate(frame.image, EncodedImage(frame.features, frame.size))
    if request.track:
        return header, [object_mask_message(result) for result in camera.start_masklets(found)]
    return header, [
        mask_message(one.mask, id=number, label="", score=one.score, predicted_iou=one.predicted_iou)
        for number, one in enumerate(found, start=1)
    ]
