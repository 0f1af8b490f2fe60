"""The life of the node: its transitions, what it says when it cannot start, and its end."""

from __future__ import annotations

import os
import pickle
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diagnostic_msgs.msg import DiagnosticStatus
from harness import PATIENCE, Robot, TrackerProcess, wait_until
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.exceptions import ParameterException
from rclpy.parameter import Parameter
from safetensors.torch import load_file

from sam2_ros.client import RequestRefusedError
from sam2_ros.node import Sam2Node

# Away from the tracker that other tests share.
NAMESPACE = "/life"
IMAGE_TOPIC = f"{NAMESPACE}/camera/image_raw"


class Malice:
    """What a pickle can do to who loads it."""

    def __init__(self, victim: Path) -> None:
        self._victim = victim

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self._victim),)


def bad_checkpoint(kind: str, good: Path, victim: Path) -> Path:
    path = victim.parent / f"{kind.replace(' ', '_')}{'.safetensors' if kind == 'truncated' else '.pt'}"
    if kind == "truncated":
        path.write_bytes(good.read_bytes()[:100_000])
    if kind == "truncated pt":
        torch.save({"model": load_file(good)}, path)
        path.write_bytes(path.read_bytes()[:100_000])
    if kind == "malicious":
        path.write_bytes(pickle.dumps({"model": Malice(victim)}))
    if kind == "of another size":
        torch.save({"model": {**load_file(good), "no_obj_ptr": torch.zeros(1, 64)}}, path)
    return path


BAD_CHECKPOINTS = {
    "missing": "there is no such file",
    "truncated": "not a readable safetensors file",
    "truncated pt": "not a readable PyTorch file",
    "malicious": "damaged, or holds objects other than tensors, which are never loaded",
    "of another size": "no_obj_ptr (1, 64) instead of",
}

BAD_PARAMETERS = [
    ("max_objects", 0, "max_objects out of range. Min: 1, Max: 256, value: 0"),
    ("image_transport", "theora", "image_transport is 'theora'; allowed are raw, compressed"),
    ("image_topics", "/camera", "'image_topics' to '/camera' of type 'STRING'"),
    ("image_topics", ["/a b"], "image_topics holds '/a b', which is not a topic name"),
    ("image_topics", ["/a", "/a"], "image_topics holds a topic twice"),
    ("camera_names", ["a", "b"], "camera_names has 2 names for 1 image_topics"),
    ("camera_names", ["1st"], "camera_names holds '1st'"),
    ("camera_names", ["größe"], "camera_names holds 'größe'; letters, digits and _ of ASCII"),
    ("tensorrt_objects", [0, 2], "tensorrt_objects is [0, 2]; numbers from 1 on are needed"),
    ("backend", "fastest", "backend is 'fastest'; allowed are auto, torch, onnxruntime, tensorrt"),
]


@pytest.mark.parametrize(("name", "value", "reason"), BAD_PARAMETERS)
def test_a_bad_parameter_at_the_start_is_named(name: str, value: object, reason: str) -> None:
    with pytest.raises((ParameterException, ValueError), match=re.escape(reason)):
        Sam2Node(parameter_overrides=[Parameter(name, value=value)])


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        BAD_PARAMETERS[0],
        ("checkpoint", "/nowhere.pt", "cannot be loaded: checkpoint /nowhere.pt: there is no"),
    ],
)
def test_a_node_that_cannot_start_says_why_and_ends(
    tmp_path: Path, name: str, value: object, reason: str
) -> None:
    with TrackerProcess(tmp_path / "log.txt", {name: value}) as tracker:
        assert tracker.process.wait(PATIENCE) == 1
        assert reason in tracker.text()
        assert "Traceback" not in tracker.text()


class Manager:
    """Takes a node through its life, as a lifecycle manager does."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self._changes = robot.node.create_client(ChangeState, f"{robot.tracker}/change_state")
        self._parameters = robot.node.create_client(SetParameters, f"{robot.tracker}/set_parameters")
        assert self._changes.wait_for_service(PATIENCE)
        assert self._parameters.wait_for_service(PATIENCE)

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self._robot.call(self._changes.call_async(request)).success)

    def set(self, name: str, value: object) -> bool:
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return bool(self._robot.call(self._parameters.call_async(request)).results[0].successful)


@pytest.fixture
def unstarted(checkpoint: Path, tmp_path: Path) -> Iterator[tuple[Robot, TrackerProcess]]:
    parameters = {
        "image_topics": [IMAGE_TOPIC],
        "autostart": False,
        "model": "sam2_pico",
        "input_reliability": "reliable",
        "camera_timeout": 0.5,
        "diagnostics_period": 0.1,
    }
    with TrackerProcess(tmp_path / "log.txt", parameters, NAMESPACE) as tracker:
        robot = Robot(IMAGE_TOPIC, namespace=NAMESPACE)
        yield robot, tracker
        robot.close()


def test_a_whole_life(unstarted: tuple[Robot, TrackerProcess], checkpoint: Path, tmp_path: Path) -> None:
    robot, tracker = unstarted
    manager = Manager(robot)
    robot.client.wait_for_services(PATIENCE)
    with pytest.raises(RequestRefusedError, match="the node is unconfigured; activate it first"):
        robot.call(robot.client.add_points([(5.0, 5.0)]))
    assert robot.call(robot.client.list()).objects == []

    # Configuring fails with bad weights, and succeeds with others.
    victim = tmp_path / "victim"
    for kind, reason in BAD_CHECKPOINTS.items():
        path = bad_checkpoint(kind, checkpoint, victim)
        assert manager.set("checkpoint", str(path))
        assert not manager.change(Transition.TRANSITION_CONFIGURE)
        status = robot.status(lambda item, path=path: f"checkpoint {path}" in item.message, robot.tracker)
        assert status.level == DiagnosticStatus.ERROR
        assert reason in status.message
        assert reason in tracker.text()
    assert not victim.exists()
    assert manager.set("checkpoint", str(checkpoint))
    assert manager.change(Transition.TRANSITION_CONFIGURE)
    # Whoever watched has seen what takes so long.
    robot.status(
        lambda item: item.message.startswith(f"configuring: loading sam2_pico from {checkpoint}"),
        robot.tracker,
    )
    assert not manager.set("checkpoint", "")
    with pytest.raises(RequestRefusedError, match="the node is inactive; activate it first"):
        robot.call(robot.client.reset())

    assert manager.change(Transition.TRANSITION_ACTIVATE)
    status = robot.status(lambda item: item.message.startswith(f"no image yet on {IMAGE_TOPIC}, "))
    assert status.level == DiagnosticStatus.STALE
    robot.meet()
    robot.film()
    robot.call(robot.client.add_points([(160.0, 120.0)], label="square"))
    assert len(robot.film().objects) == 1

    # A pause: what is tracked is tracked on.
    assert manager.change(Transition.TRANSITION_DEACTIVATE)
    assert [item.label for item in robot.call(robot.client.list()).objects] == ["square"]
    robot.publish(robot.picture())
    assert manager.change(Transition.TRANSITION_ACTIVATE)
    robot.meet()
    assert [item.label for item in robot.film().objects] == ["square"]

    # After a clean-up everything is new.
    assert manager.change(Transition.TRANSITION_DEACTIVATE)
    assert manager.change(Transition.TRANSITION_CLEANUP)
    wait_until(lambda: robot.publishers(robot.masks) == 0, "the outputs are gone")
    assert manager.change(Transition.TRANSITION_CONFIGURE)
    assert manager.change(Transition.TRANSITION_ACTIVATE)
    robot.meet()
    assert robot.film().objects == []

    assert manager.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    wait_until(lambda: not robot.heard, "the tracker has left the image topic")
    assert tracker.end(signal.SIGTERM) == 0
    assert "Traceback" not in tracker.text()


def test_a_second_sigint_while_tracking_does_no_harm(checkpoint: Path, tmp_path: Path) -> None:
    """Under launch, SIGINT may arrive twice."""
    parameters = {
        "image_topics": [IMAGE_TOPIC],
        "checkpoint": str(checkpoint),
        "input_reliability": "reliable",
    }
    with TrackerProcess(tmp_path / "log.txt", parameters, NAMESPACE) as tracker:
        robot = Robot(IMAGE_TOPIC, namespace=NAMESPACE).meet()
        robot.film()
        robot.call(robot.client.add_points([(160.0, 120.0)]))
        search = robot.client.generate_masks(points_per_side=64)
        for _ in range(5):
            robot.publish(robot.picture())
        assert tracker.end(signal.SIGINT, signal.SIGINT) == 0
        with pytest.raises(RequestRefusedError, match="the node was cleaned up or ended meanwhile"):
            robot.call(search)
        assert "Traceback" not in tracker.text()
        robot.close()
