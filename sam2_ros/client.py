"""Prompts from Python: `PromptClient` calls the node's services without blocking anybody's executor.

    client = PromptClient()                       # brings its own node and thread; or PromptClient(node)
    client.wait_until_ready(timeout=30.0)
    cup = client.wait(client.add_points([(320, 240)], label="cup"))
    client.wait(client.add_points([(350, 200)], labels=[0], object_id=cup.object.id))

Every call returns an rclpy future at once. In a coroutine of a node, `await` it; in a thread that is not the
executor's, `wait` for it; anywhere, give it a callback. Its result is the service's response; a refusal is
raised as RequestRefusedError, with the reason.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from numpy.typing import NDArray
from rclpy.client import Client
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from sam2_ros.conversions import mask_prompt_message, point_prompt_message
from sam2_ros.futures import awaitable_future
from sam2_ros.images import image_from_array
from sam2_ros.msg import Prompt
from sam2_ros.srv import AddPrompt, GenerateMasks, ListObjects, RemoveObject, SegmentImage

_POLL = 0.05  # time between two questions for the tracker's state [s]
_ANSWER = 2.0  # time that the tracker gets to answer one [s]


class RequestRefusedError(RuntimeError):
    """The tracker refused a request; the text is its reason."""


class PromptClient:
    """Calls the services of a tracker node, for one of its cameras."""

    def __init__(self, node: Node | None = None, tracker: str = "/sam2", camera: str = "") -> None:
        """node: whose executor, spun by the caller, handles the answers; None: a private one in a thread.
        tracker: fully qualified name of the tracker node. camera: name of the camera, if it has several.
        """
        self._private = _PrivateNode() if node is None else None
        self._node: Node = node or self._private.node  # type: ignore[union-attr]
        prefix = f"{tracker}/{camera}" if camera else tracker
        self._state = self._node.create_client(GetState, f"{tracker}/get_state")
        self._add = self._node.create_client(AddPrompt, f"{prefix}/add_prompt")
        self._remove = self._node.create_client(RemoveObject, f"{prefix}/remove_object")
        self._reset = self._node.create_client(Trigger, f"{prefix}/reset")
        self._list = self._node.create_client(ListObjects, f"{prefix}/list_objects")
        self._segment = self._node.create_client(SegmentImage, f"{tracker}/segment_image")
        self._generate = self._node.create_client(GenerateMasks, f"{prefix}/generate_masks")
        self._clients = (
            self._state,
            self._add,
            self._remove,
            self._reset,
            self._list,
            self._segment,
            self._generate,
        )

    def add_points(
        self,
        points: Iterable[tuple[float, float]],
        labels: Iterable[int] | None = None,
        *,
        box: tuple[float, float, float, float] | None = None,
        object_id: int = 0,
        label: str = "",
        stamp: Time | None = None,
        clear_previous: bool = False,
    ) -> Future:
        """Points (x, y) [px] on an object (label 1, the default) or not on it (0), with or without a box.

        object_id: 0 for a new object. label: a name for people. stamp: of the frame that is meant, None for
        the newest. clear_previous: forget the object's earlier points on that frame; its mask there is
        refined all the same: to start over, remove the object.
        """
        points = list(points)
        labels = [Prompt.LABEL_OBJECT] * len(points) if labels is None else labels
        return self._prompt(
            point_prompt_message(points, labels, box), object_id, label, stamp, clear_previous
        )

    def add_box(
        self,
        box: tuple[float, float, float, float],
        *,
        object_id: int = 0,
        label: str = "",
        stamp: Time | None = None,
        clear_previous: bool = True,
    ) -> Future:
        """A box (x0, y0, x1, y1) [px] around an object; the rest as in `add_points`."""
        return self._prompt(point_prompt_message(box=box), object_id, label, stamp, clear_previous)

    def add_mask(
        self, mask: NDArray[np.bool_], *, object_id: int = 0, label: str = "", stamp: Time | None = None
    ) -> Future:
        """The object's mask on the frame, bool [H, W]; the rest as in `add_points`."""
        return self._prompt(mask_prompt_message(mask), object_id, label, stamp, True)

    def remove(self, object_id: int) -> Future:
        """Stops tracking an object."""
        return self._call(self._remove, RemoveObject.Request(object_id=object_id))

    def reset(self) -> Future:
        """Forgets all objects."""
        return self._call(self._reset, Trigger.Request())

    def list(self) -> Future:
        """The tracked objects, in `objects` of the response."""
        return self._call(self._list, ListObjects.Request())

    def segment(
        self, image: Image | NDArray[np.uint8], prompts: Sequence[Prompt], multimask: bool = False
    ) -> Future:
        """Segments one image, a message or RGB uint8 [H, W, 3]; nothing is tracked.

        prompts: of `sam2_ros.conversions.point_prompt_message` or `mask_prompt_message`, one object each.
        """
        if not isinstance(image, Image):
            image = image_from_array(image, "rgb8", Header())
        request = SegmentImage.Request(image=image, prompts=list(prompts), multimask=multimask)
        return self._call(self._segment, request)

    def generate_masks(
        self,
        image: Image | NDArray[np.uint8] | None = None,
        *,
        points_per_side: int = 0,
        predicted_iou: float = 0.0,
        stability: float = 0.0,
        min_area: int = 0,
        track: bool = False,
    ) -> Future:
        """Finds everything on the newest frame, or on an image, a message or RGB uint8 [H, W, 3].

        points_per_side: of the grid; predicted_iou, stability: least quality, 0 to 1; 0 leaves the
        default, a negative one lets all pass.
        min_area: drop smaller masks [px]. track: start tracking what was found on the newest frame.
        """
        request = GenerateMasks.Request(
            points_per_side=points_per_side,
            predicted_iou=predicted_iou,
            stability=stability,
            min_area=min_area,
            track=track,
        )
        if image is not None:
            request.image = image if isinstance(image, Image) else image_from_array(image, "rgb8", Header())
        return self._call(self._generate, request)

    def wait(self, future: Future, timeout: float = 30.0) -> Any:
        """Blocks until a call is answered, at most for `timeout` [s]; never from a callback.

        Returns the response. Raises RequestRefusedError and TimeoutError.
        """
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        if not done.wait(timeout):
            raise TimeoutError(f"no answer from the tracker within {timeout:g} s")
        return future.result()

    def wait_for_services(self, timeout: float = 60.0) -> None:
        """Blocks until the tracker's services exist, at most for `timeout` [s]; needs no spinning executor.

        Raises TimeoutError, naming the first that is missing.
        """
        end = time.monotonic() + timeout
        for client in self._clients:
            if not client.wait_for_service(max(0.0, end - time.monotonic())):
                raise TimeoutError(f"no service {client.srv_name} within {timeout:g} s")

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Blocks until the tracker is active, at most for `timeout` [s]; never from a callback.

        Raises TimeoutError, saying what is missing.
        """
        end = time.monotonic() + timeout
        self.wait_for_services(timeout)
        label = "silent"
        while (left := end - time.monotonic()) > 0:
            # An answer can be lost while the two processes are still finding each other: ask again.
            with suppress(TimeoutError):
                answer = self.wait(self._state.call_async(GetState.Request()), min(left, _ANSWER))
                if answer.current_state.id == State.PRIMARY_STATE_ACTIVE:
                    return
                label = answer.current_state.label
                time.sleep(_POLL)
        raise TimeoutError(f"the tracker is {label} after {timeout:g} s")

    def close(self) -> None:
        """Removes the service clients, and the private node if there is one."""
        for client in self._clients:
            self._node.destroy_client(client)
        if self._private is not None:
            self._private.close()

    def __enter__(self) -> PromptClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prompt(
        self, prompt: Prompt, object_id: int, label: str, stamp: Time | None, clear_previous: bool
    ) -> Future:
        request = AddPrompt.Request(
            object_id=object_id, label=label, prompt=prompt, clear_previous=clear_previous
        )
        if stamp is not None:
            request.stamp = stamp
        return self._call(self._add, request)

    def _call(self, client: Client, request: Any) -> Future:
        answer = awaitable_future(self._node.executor)

        def pass_on(response: Future) -> None:
            if response.exception() is not None:
                answer.set_exception(response.exception())
            elif getattr(response.result(), "success", True):
                answer.set_result(response.result())
            else:
                answer.set_exception(RequestRefusedError(response.result().message))

        client.call_async(request).add_done_callback(pass_on)
        return answer


class _PrivateNode:
    """A node in a context and a thread of its own, so that neither needs rclpy.init nor disturbs it."""

    def __init__(self) -> None:
        self._context = Context()
        rclpy.init(context=self._context)
        self.node = Node("sam2_client", context=self._context, start_parameter_services=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, name="sam2_client", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)
