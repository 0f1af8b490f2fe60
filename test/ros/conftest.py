"""A tracker process and a robot, shared by most tests; they meet over the real middleware."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
import torch
from harness import Robot, TrackerProcess
from safetensors.torch import save_file

from sam2_core.model import CONFIGS, Sam2Network


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of sam2_pico: random, the same every time, with objects that stay visible."""
    torch.manual_seed(5)
    state = Sam2Network(CONFIGS["sam2_pico"]).state_dict()
    state["sam_mask_decoder.pred_obj_score_head.layers.2.bias"] += 10.0
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file(state, path)
    return path


@pytest.fixture(scope="session", autouse=True)
def ros() -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.shutdown()


@pytest.fixture(scope="session")
def tracker(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackerProcess]:
    """A tracker of one camera that loses no frame on its way."""
    parameters = {
        "checkpoint": str(checkpoint),
        "input_reliability": "reliable",
        "input_depth": 20,
        "max_objects": 3,
        "camera_timeout": 0.5,
        "diagnostics_period": 0.1,
    }
    with TrackerProcess(tmp_path_factory.mktemp("tracker") / "log.txt", parameters) as process:
        yield process


@pytest.fixture(scope="session")
def robot_of_session(tracker: TrackerProcess) -> Iterator[Robot]:
    robot = Robot().meet()
    yield robot
    robot.close()


@pytest.fixture
def robot(robot_of_session: Robot) -> Robot:
    """The robot, with nothing tracked and one frame seen."""
    robot_of_session.stop_listening()
    robot_of_session.call(robot_of_session.client.reset())
    robot_of_session.film()
    return robot_of_session
