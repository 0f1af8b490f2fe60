"""Graphs of one's own, and threads that leave others their cores."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node

from sam2_ros.processes import free_domain, isolated_environment


def test_a_domain_in_use_is_not_taken() -> None:
    used = int(os.environ["ROS_DOMAIN_ID"])
    context = Context()
    rclpy.init(context=context, domain_id=used)
    node = Node("somebody", context=context)
    try:
        assert free_domain(used) != used
        assert 1 <= free_domain(101) <= 101
        assert isolated_environment()["ROS_DOMAIN_ID"] == str(used), "a process and its children share one"
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


@pytest.mark.parametrize(("given", "used"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_the_nodes_threads_wait_asleep_unless_told_otherwise(given: dict[str, str], used: str) -> None:
    # PyTorch's OpenMP says by itself how it understood its settings.
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    told = subprocess.run(
        [sys.executable, "-c", "import sam2_ros.node"],
        env=environment | given | {"OMP_DISPLAY_ENV": "TRUE"},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    assert f"OMP_WAIT_POLICY = '{used}'" in told.stderr
