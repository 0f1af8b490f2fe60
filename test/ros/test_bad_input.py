"""What is refused, how, and that tracking goes on afterwards."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Point
from harness import FRAME_PERIOD, SIZE, Robot, TrackerProcess, values, wait_until
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from std_msgs.msg import Header

from sam2_ros.client import RequestRefusedError
from sam2_ros.conversions import mask_prompt_message, nanoseconds, point_prompt_message
from sam2_ros.images import image_from_array
from sam2_ros.msg import PixelPoint, Prompt
from sam2_ros.srv import AddPrompt, SegmentImage

HEIGHT, WIDTH = SIZE
CENTRE = (160.0, 120.0)


@pytest.fixture
def tracking(robot: Robot) -> Iterator[Robot]:
    """A robot with one object, which is still tracked when the test is over."""
    robot.call(robot.client.add_points([CENTRE], label="square"))
    yield robot
    assert [item.label for item in robot.film().objects] == ["square"]


def prompt(**fields: object) -> Prompt:
    return Prompt(**fields)


def point(x: float, y: float) -> Prompt:
    return point_prompt_message([(x, y)], [1])


SMALL_MASK = mask_prompt_message(np.ones((10, 20), bool))
TRUNCATED_MASK = prompt(mask=SMALL_MASK.mask)
BAD_PROMPTS = {
    "right of the image": (point(WIDTH + 0.5, 5.0), "point (320.5, 5); allowed: 0 <= x <= 320"),
    "above the image": (point(5.0, -1.0), "point (5, -1)"),
    "not a number": (point(math.nan, 5.0), "point (nan, 5)"),
    "infinite": (point(5.0, math.inf), "point (5, inf)"),
    "empty": (prompt(), "the prompt is empty; allowed: points, a box"),
    "a label without a point": (prompt(labels=[1]), "1 labels for 0 points"),
    "a point without a label": (prompt(points=[PixelPoint(x=1.0, y=1.0)]), "0 labels for 1 points"),
    "an unknown label": (point_prompt_message([CENTRE], [7]), "label 7; allowed: 1"),
    "a box with no area": (point_prompt_message(box=(9.0, 9.0, 9.0, 20.0)), "box (9, 9, 9, 20); allowed"),
    "a box upside down": (point_prompt_message(box=(9.0, 20.0, 20.0, 9.0)), "box (9, 20, 20, 9)"),
    "a box outside": (point_prompt_message(box=(9.0, 9.0, 400.0, 20.0)), "x1 <= 320"),
    "a box with one corner": (prompt(box=[PixelPoint()]), "box has 1 corners; allowed: two"),
    "a mask of another size": (SMALL_MASK, "mask is 20 x 10; allowed: the frame's size, 320 x 240"),
    "a mask without a pixel": (mask_prompt_message(np.zeros(SIZE, bool)), "mask is empty"),
    "a mask and a point": (
        prompt(mask=SMALL_MASK.mask, points=[PixelPoint()], labels=[1]),
        "a mask and also points",
    ),
    "a mask in colour": (
        prompt(mask=image_from_array(np.zeros((*SIZE, 3), np.uint8), "rgb8", Header())),
        "encoding 'rgb8' of a mask is not allowed",
    ),
}


@pytest.mark.parametrize(("bad", "reason"), BAD_PROMPTS.values(), ids=BAD_PROMPTS.keys())
def test_a_bad_prompt_is_refused_with_the_reason(tracking: Robot, bad: Prompt, reason: str) -> None:
    client = tracking.node.create_client(AddPrompt, f"{tracking.prefix}/add_prompt")
    assert client.wait_for_service(5.0)
    answer = tracking.call(client.call_async(AddPrompt.Request(prompt=bad)))
    assert not answer.success
    assert reason in answer.message
    tracking.node.destroy_client(client)


@pytest.mark.parametrize("request_of", ["add_points", "remove"])
def test_an_unknown_id_is_refused(tracking: Robot, request_of: str) -> None:
    calls = {
        "add_points": lambda: tracking.client.add_points([CENTRE], object_id=99),
        "remove": lambda: tracking.client.remove(99),
    }
    with pytest.raises(RequestRefusedError, match=r"99.*allowed: 1"):
        tracking.call(calls[request_of]())


def test_too_many_objects_are_refused(tracking: Robot) -> None:
    extra = [tracking.call(tracking.client.add_points([CENTRE])).object.id for _ in range(2)]
    with pytest.raises(RequestRefusedError, match="3"):
        tracking.call(tracking.client.add_points([CENTRE]))
    assert len(tracking.film().objects) == 3
    for object_id in extra:
        tracking.call(tracking.client.remove(object_id))


def test_a_frame_that_is_not_held_is_refused_with_the_oldest_that_is(tracking: Robot) -> None:
    stamps = [tracking.film().header.stamp for _ in range(9)]
    with pytest.raises(RequestRefusedError, match=str(nanoseconds(stamps[1]))):
        tracking.call(tracking.client.add_points([CENTRE], stamp=stamps[0]))
    with pytest.raises(RequestRefusedError):
        tracking.call(tracking.client.add_points([CENTRE], stamp=Time(sec=2_000_000)))
    answer = tracking.call(tracking.client.add_points([CENTRE], object_id=1, stamp=stamps[5]))
    assert answer.header.stamp == stamps[5]


def dropped(status: DiagnosticStatus, reason: str) -> int:
    """How many frames were dropped for a reason."""
    return int(values(status)[f"dropped: {reason}"])


def bad_image(robot: Robot, kind: str) -> object:
    """The next frame, spoilt."""
    image = robot.picture()
    if kind == "empty":
        image.width = image.height = image.step = 0
        image.data = []
    if kind == "truncated":
        image.data = image.data[:1000]
    if kind == "unknown encoding":
        image.encoding = "rgb7"
    if kind == "small step":
        image.step = 100
    return image


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("unknown encoding", "encoding 'rgb7' is unknown; allowed are rgb8"),
        ("truncated", "data is truncated: 1000 bytes, 240 rows of step 960 take 230400"),
        ("small step", "step 100 is smaller than a row: 320 pixels of rgb8 take 960 bytes"),
        ("empty", "the image is empty: width 0, height 0"),
    ],
)
def test_a_bad_image_is_reported(tracking: Robot, kind: str, reason: str) -> None:
    tracking.publish(bad_image(tracking, kind))
    status = tracking.status(lambda item: reason in item.message)
    assert status.level == DiagnosticStatus.WARN
    assert status.message.startswith("bad image: ")
    assert dropped(status, "bad image") >= 1


def test_bad_images_are_logged_now_and_then(tracking: Robot, tracker: TrackerProcess) -> None:
    before = tracker.text().count("bad image: ")
    count = dropped(tracking.status(lambda _: True), "bad image")
    for _ in range(20):
        tracking.publish(bad_image(tracking, "small step"))
    tracking.status(lambda item: dropped(item, "bad image") > count)
    tracking.film()  # everything before it has been dealt with
    assert tracker.text().count("bad image: ") - before <= 3


def test_an_image_of_another_size_is_tracked_on(tracking: Robot) -> None:
    message = tracking.film(tracking.picture((300, 200)))
    assert [(item.mask.height, item.mask.width) for item in message.objects] == [(300, 200)]
    answer = tracking.call(tracking.client.add_points([(199.0, 299.0)], object_id=1))
    assert (answer.object.mask.height, answer.object.mask.width) == (300, 200)
    status = tracking.status(lambda item: "image size changed" in item.message)
    assert "from 320x240 to 200x300" in status.message
    assert [item.mask.width for item in tracking.film().objects] == [WIDTH]


def test_a_camera_that_stops_is_reported(tracking: Robot, tracker: TrackerProcess) -> None:
    status = tracking.status(lambda item: item.message.startswith("no image for "))
    assert status.level == DiagnosticStatus.STALE
    assert status.message.endswith("s on /camera/image_raw")
    assert "no image for " in tracker.text()
    tracking.film()
    tracking.status(lambda item: not item.message.startswith("no image for "))


def test_a_repeated_stamp_is_dropped(tracking: Robot) -> None:
    image = tracking.picture()
    tracking.film(image)
    tracking.publish(image)
    status = tracking.status(lambda item: "stamp repeated" in item.message)
    assert dropped(status, "stamp repeated") >= 1


def test_an_overtaken_frame_is_dropped(tracking: Robot) -> None:
    late, newer = tracking.picture(), tracking.picture()
    tracking.film(newer)
    tracking.publish(late)
    status = tracking.status(lambda item: "stamp went back" in item.message)
    assert dropped(status, "stamp went back") >= 1


def test_time_that_goes_back_starts_a_new_session(robot: Robot, tracker: TrackerProcess) -> None:
    robot.call(robot.client.add_points([CENTRE]))
    assert len(robot.film().objects) == 1
    before = tracker.text().count("time went back")
    back = robot.picture()
    back.header = robot.next_header(-100 * FRAME_PERIOD)
    assert robot.film(back).objects == []
    robot.film()
    assert tracker.text().count("time went back") == before + 1
    robot.status(lambda item: "time went back" in item.message)
    # The new session goes on from there.
    assert robot.call(robot.client.add_points([CENTRE])).header.stamp != back.header.stamp
    assert len(robot.film().objects) == 1


def test_a_short_loop_starts_a_new_session_too(robot: Robot) -> None:
    """A loop shorter than what counts as an overtaken frame: several late frames in a row tell."""
    robot.call(robot.client.add_points([CENTRE]))
    loop = [robot.picture() for _ in range(4)]
    for image in loop:
        robot.film(image)
    late = dropped(robot.status(lambda _: True), "stamp went back")
    for number, image in enumerate(loop[:2], start=1):
        robot.publish(image)
        robot.status(lambda item, number=number: dropped(item, "stamp went back") == late + number)
    assert robot.film(loop[2]).objects == []
    robot.film(loop[3])


def test_a_click_is_an_object_only_where_allowed(robot: Robot, tracker: TrackerProcess) -> None:
    clicks = robot.node.create_publisher(Point, "/camera/image_raw_mouse_left", 10)
    wait_until(lambda: clicks.get_subscription_count() > 0, "the tracker listens to clicks")
    set_parameters(robot, [Parameter("allow_click_prompts", value=True)])
    clicks.publish(Point(x=160.0, y=120.0))
    wait_until(lambda: "is object 1" in tracker.text(), "the click is an object")
    assert len(robot.film().objects) == 1
    clicks.publish(Point(x=9999.0, y=120.0))
    wait_until(lambda: "is refused: point (9999.5, 120.5)" in tracker.text(), "the click is refused")
    set_parameters(robot, [Parameter("allow_click_prompts", value=False)])
    clicks.publish(Point(x=160.0, y=120.0))
    wait_until(lambda: "a click is ignored" in tracker.text(), "the click is ignored")
    assert len(robot.film().objects) == 1
    robot.node.destroy_publisher(clicks)


def set_parameters(robot: Robot, changes: list[Parameter], atomically: bool = False) -> object:
    kind = SetParametersAtomically if atomically else SetParameters
    client = robot.node.create_client(kind, f"/sam2/set_parameters{'_atomically' if atomically else ''}")
    assert client.wait_for_service(5.0)
    request = kind.Request(parameters=[change.to_parameter_msg() for change in changes])
    answer = robot.call(client.call_async(request))
    robot.node.destroy_client(client)
    return answer.result if atomically else answer.results


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("jpeg_quality", 101, "jpeg_quality out of range. Min: 1, Max: 100, value: 101"),
        ("camera_timeout", -1.0, "camera_timeout out of range"),
        ("camera_timeout", math.nan, "camera_timeout"),
        ("jpeg_quality", "high", "type"),
        ("image_topics", ["/other"], "read-only"),
        ("max_objects", 5, "max_objects cannot change while the model is loaded"),
    ],
)
def test_a_bad_parameter_is_refused_with_the_reason(
    tracking: Robot, name: str, value: object, reason: str
) -> None:
    (result,) = set_parameters(tracking, [Parameter(name, value=value)])
    assert not result.successful
    assert reason in result.reason


def test_parameters_change_together_or_not_at_all(tracking: Robot) -> None:
    good = Parameter("camera_timeout", value=0.25)
    result = set_parameters(tracking, [good, Parameter("jpeg_quality", value=0)], atomically=True)
    assert not result.successful
    client = tracking.node.create_client(GetParameters, "/sam2/get_parameters")
    assert client.wait_for_service(5.0)
    answer = tracking.call(client.call_async(GetParameters.Request(names=["camera_timeout", "jpeg_quality"])))
    assert (answer.values[0].double_value, answer.values[1].integer_value) == (0.5, 80)
    tracking.node.destroy_client(client)


def test_segmenting_refuses_what_it_cannot_read(tracking: Robot) -> None:
    client = tracking.node.create_client(SegmentImage, "/sam2/segment_image")
    assert client.wait_for_service(5.0)
    for image, prompts, reason in (
        (bad_image(tracking, "truncated"), [point(*CENTRE)], "data is truncated"),
        (tracking.picture(), [], "prompts is empty"),
        (tracking.picture(), [point(WIDTH + 1.0, 0.0)], "point (321, 0)"),
    ):
        answer = tracking.call(client.call_async(SegmentImage.Request(image=image, prompts=prompts)))
        assert not answer.success
        assert reason in answer.message
    tracking.node.destroy_client(client)
