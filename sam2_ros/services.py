"""The services of one camera, its clicks, and the service that segments single images.

They exist as long as the node and answer in every state of its life. A request is handed to the inference
thread and awaited, so that the executor goes on receiving images meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from functools import wraps
from typing import Any, Protocol

from geometry_msgs.msg import Point
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future
from std_srvs.srv import Trigger

from sam2_core.backends import Backend
from sam2_core.masks import tight_box
from sam2_core.tracking import ImageSegmenter, PointPrompt, TrackedObject, TrackingError
from sam2_ros.camera import Camera
from sam2_ros.conversions import (
    mask_message,
    nanoseconds,
    object_mask_message,
    prompt_from_message,
    tracked_object_message,
)
from sam2_ros.images import ImageError, rgb_from_image
from sam2_ros.inference import NotActiveError
from sam2_ros.srv import AddPrompt, ListObjects, RemoveObject, SegmentImage


class Session(Protocol):
    """What the services need of the node. All but `objects` raise NotActiveError unless it is active."""

    def objects(self, name: str) -> tuple[TrackedObject, ...]: ...
    def camera(self, name: str) -> Camera: ...
    def backend(self) -> Backend: ...
    def in_inference_thread(self, command: Callable[[], Any]) -> Future: ...


Callback = Callable[[Any, Any, Any], Awaitable[Any]]


def answered(callback: Callback) -> Callback:
    """Turns what is raised in a service callback into `success: false` and a message."""

    @wraps(callback)
    async def answer(self: Any, request: Any, response: Any) -> Any:
        try:
            response = await callback(self, request, response)
            response.success = True
        except (TrackingError, ImageError, NotActiveError) as error:
            response.success, response.message = False, str(error)
        except Exception as error:  # an exception that left a callback would end the executor
            self._logger.error(f"request failed: {error!r}")
            response.success, response.message = False, f"internal error: {error!r}"
        return response

    return answer


def create_service(node: Any, kind: type, name: str, callback: Callable[[Any, Any], Awaitable[Any]]) -> None:
    """Creates a service whose callback awaits."""
    # In the node's own group, which is an exclusive one, nothing else would be called meanwhile, for an image
    # for example.
    node.create_service(kind, name, callback, callback_group=ReentrantCallbackGroup())


class CameraServices:
    """`add_prompt`, `remove_object`, `reset` and `list_objects` under a prefix, and clicks on the image."""

    def __init__(self, node: Any, session: Session, camera: str, prefix: str) -> None:
        self._session = session
        self._camera = camera
        self._logger = node.get_logger()
        create_service(node, AddPrompt, f"{prefix}add_prompt", self._add_prompt)
        create_service(node, RemoveObject, f"{prefix}remove_object", self._remove_object)
        create_service(node, Trigger, f"{prefix}reset", self._reset)
        node.create_service(ListObjects, f"{prefix}list_objects", self._list_objects)

    @answered
    async def _add_prompt(self, request: AddPrompt.Request, response: AddPrompt.Response) -> Any:
        camera = self._session.camera(self._camera)
        prompt = prompt_from_message(request.prompt)
        response.header, result = await self._session.in_inference_thread(
            lambda: camera.add_prompt(
                prompt,
                object_id=request.object_id or None,
                label=request.label,
                stamp=nanoseconds(request.stamp) or None,
                clear_previous=request.clear_previous,
            )
        )
        response.object = object_mask_message(result)
        return response

    @answered
    async def _remove_object(self, request: RemoveObject.Request, response: RemoveObject.Response) -> Any:
        camera = self._session.camera(self._camera)
        await self._session.in_inference_thread(lambda: camera.remove_object(request.object_id))
        return response

    @answered
    async def _reset(self, _request: Trigger.Request, response: Trigger.Response) -> Any:
        camera = self._session.camera(self._camera)
        await self._session.in_inference_thread(camera.reset)
        return response

    def _list_objects(self, _request: ListObjects.Request, response: ListObjects.Response) -> Any:
        response.objects = [tracked_object_message(item) for item in self._session.objects(self._camera)]
        return response

    def click(self, point: Point) -> None:
        """Adds an object at a clicked pixel of the newest frame."""
        # A click means the pixel's middle; coordinates count from the outer corner of the first pixel.
        prompt = PointPrompt(points=[(point.x + 0.5, point.y + 0.5)], labels=[1])
        camera = self._session.camera(self._camera)
        future = self._session.in_inference_thread(lambda: camera.add_prompt(prompt))
        future.add_done_callback(lambda done: self._report_click(point, done))

    def _report_click(self, point: Point, done: Future) -> None:
        where = f"click at ({point.x:g}, {point.y:g}) of {self._camera}"
        if done.exception():
            self._logger.warning(f"{where} is refused: {done.exception()}")
        else:
            self._logger.info(f"{where} is object {done.result()[1].id}")


class SegmentationService:
    """`~/segment_image`: masks of one image; nothing is tracked."""

    def __init__(self, node: Any, session: Session) -> None:
        self._session = session
        self._logger = node.get_logger()
        create_service(node, SegmentImage, "~/segment_image", self._segment)

    @answered
    async def _segment(self, request: SegmentImage.Request, response: SegmentImage.Response) -> Any:
        backend = self._session.backend()
        response.masks = await self._session.in_inference_thread(lambda: _segment(backend, request))
        return response


def _segment(backend: Backend, request: SegmentImage.Request) -> Generator[None, None, list[Any]]:
    """Frames are tracked between the prompts."""
    if not request.prompts:
        raise TrackingError("prompts is empty; allowed: one prompt or more")
    segmenter = ImageSegmenter(backend)
    segmenter.set_image(rgb_from_image(request.image))
    messages = []
    for index, message in enumerate(request.prompts):
        result = segmenter.predict(prompt_from_message(message), multimask=request.multimask)
        messages += [
            mask_message(mask, tight_box(mask), id=index + 1, label="", score=result.score, predicted_iou=iou)
            for mask, iou in zip(result.masks, result.iou, strict=True)
        ]
        yield
    return messages
