"""PromptClient, as its users call it: from a thread, from a coroutine, with a node of its own."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from harness import PATIENCE, SIZE, Robot, TrackerProcess
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from sam2_ros.client import PromptClient, RequestRefusedError
from sam2_ros.conversions import mask_from_message, mask_prompt_message, point_prompt_message
from sam2_ros.images import rgb_from_image


def test_a_session(robot: Robot) -> None:
    client = robot.client
    cup = robot.call(client.add_points([(160.0, 120.0)], label="cup"))
    assert (cup.object.id, cup.object.label) == (1, "cup")
    # A correction on a later frame, and one on the same frame.
    stamp = robot.film().header.stamp
    corrected = robot.call(client.add_points([(10.0, 10.0)], labels=[0], object_id=1))
    assert corrected.header.stamp == stamp
    assert corrected.object.label == "cup"
    again = robot.call(client.add_points([(12.0, 12.0)], labels=[0], object_id=1, label="mug"))
    assert again.object.label == "mug"

    plate = robot.call(client.add_box((20.0, 20.0, 90.0, 70.0), label="plate"))
    assert plate.object.id == 2
    drawn = np.zeros(SIZE, bool)
    drawn[60:120, 100:200] = True
    spoon = robot.call(client.add_mask(drawn, label="spoon"))
    mask = mask_from_message(spoon.object.mask)
    assert (mask & drawn).sum() / (mask | drawn).sum() > 0.95

    listed = robot.call(client.list()).objects
    assert [(item.id, item.label) for item in listed] == [(1, "mug"), (2, "plate"), (3, "spoon")]
    assert listed[1].since == plate.header.stamp
    robot.call(client.remove(2))
    assert [item.id for item in robot.film().objects] == [1, 3]
    # The id of a removed object is not given again.
    assert robot.call(client.add_points([(160.0, 120.0)])).object.id == 4
    robot.call(client.reset())
    assert robot.film().objects == []


def test_a_prompt_on_a_past_frame(robot: Robot) -> None:
    stamps = [robot.film().header.stamp for _ in range(4)]
    answer = robot.call(robot.client.add_points([(160.0, 120.0)], stamp=stamps[1]))
    assert answer.header.stamp == stamps[1]
    assert robot.call(robot.client.list()).objects[0].since == stamps[1]
    assert len(robot.film().objects) == 1


def test_a_prompt_on_a_frame_that_has_just_been_sent(robot: Robot) -> None:
    image = robot.picture()
    robot.publish(image)
    robot.masks.of(image.header.stamp)
    answer = robot.call(robot.client.add_points([(160.0, 120.0)], stamp=image.header.stamp))
    assert answer.header == image.header


def test_segmenting_single_images_disturbs_no_tracker(robot: Robot) -> None:
    robot.call(robot.client.add_points([(160.0, 120.0)]))
    drawn = np.zeros((100, 150), bool)
    drawn[30:60, 40:90] = True
    image = robot.picture((100, 150))
    prompts = [point_prompt_message([(75.0, 50.0)], [1]), mask_prompt_message(drawn)]
    one = robot.call(robot.client.segment(image, prompts)).masks
    assert [item.id for item in one] == [1, 2]
    assert {(item.mask.height, item.mask.width) for item in one} == {(100, 150)}
    three = robot.call(robot.client.segment(rgb_from_image(image), prompts, multimask=True)).masks
    assert [item.id for item in three] == [1, 1, 1, 2, 2, 2]
    qualities = [item.predicted_iou for item in three[:3]]
    assert qualities == sorted(qualities, reverse=True)
    assert [item.id for item in robot.film().objects] == [1]


def test_frames_are_tracked_between_the_prompts_of_a_single_image(robot: Robot) -> None:
    robot.call(robot.client.add_points([(160.0, 120.0)]))
    answer = robot.client.segment(robot.picture(), [point_prompt_message([(75.0, 50.0)], [1])] * 60)
    tracked = 0
    while not answer.done():
        robot.film()
        tracked += 1
    assert len(robot.call(answer).masks) == 60
    assert tracked > 5


def test_a_coroutine_awaits_without_blocking_its_executor(robot: Robot) -> None:
    node = Node("awaiting")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    client = PromptClient(node)
    ticks = []
    node.create_timer(0.001, lambda: ticks.append(len(ticks)))
    seen = []

    async def prompt() -> int:
        answer = await client.add_points([(160.0, 120.0)])
        try:
            await client.remove(99)
        except RequestRefusedError as error:
            seen.append(str(error))
        await client.remove(answer.object.id)
        return int(answer.object.id)

    client.wait_for_services(PATIENCE)
    task = executor.create_task(prompt)
    executor.spin_until_future_complete(task, PATIENCE)
    assert task.result() == 1
    assert "99" in seen[0]
    assert ticks, "other callbacks ran meanwhile"
    client.close()
    executor.shutdown()
    node.destroy_node()


def test_awaiting_needs_no_other_event(robot: Robot) -> None:
    """An answer wakes a coroutine even where nothing else happens in its executor."""
    node = Node("idle", start_parameter_services=False)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    client = PromptClient(node)
    client.wait_for_services(PATIENCE)

    async def ask() -> int:
        return len((await client.list()).objects)

    thread = threading.Thread(target=executor.spin)
    thread.start()
    done = threading.Event()
    task = executor.create_task(ask)
    task.add_done_callback(lambda _: done.set())
    assert done.wait(PATIENCE)
    assert task.result() == 0
    executor.shutdown()
    thread.join()
    client.close()
    node.destroy_node()


def test_a_client_with_a_node_of_its_own(robot: Robot) -> None:
    with PromptClient() as client:
        client.wait_until_ready(PATIENCE)
        answer = client.wait(client.add_points([(160.0, 120.0)], label="cup"))
        assert answer.object.label == "cup"
        with pytest.raises(RequestRefusedError, match="label 7"):
            client.wait(client.add_points([(160.0, 120.0)], labels=[7]))
    assert [item.label for item in robot.film().objects] == ["cup"]


def test_a_tracker_that_is_not_there(tracker: TrackerProcess) -> None:
    with PromptClient(tracker="/nobody") as client:
        with pytest.raises(TimeoutError, match="no service /nobody/get_state"):
            client.wait_until_ready(0.2)
        with pytest.raises(TimeoutError, match="no answer from the tracker"):
            client.wait(client.list(), 0.1)
