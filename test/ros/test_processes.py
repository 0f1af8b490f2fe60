"""Graphs of one's own."""

from __future__ import annotations

import os

import rclpy
from rclpy.context import Context
from rclpy.node import Node

from sam2_ros.processes import isolated_environment


def test_a_domain_in_use_is_not_taken_again() -> None:
    used = int(os.environ["ROS_DOMAIN_ID"])
    context = Context()
    rclpy.init(context=context, domain_id=used)
    node = Node("somebody", context=context)
    try:
        assert int(isolated_environment()["ROS_DOMAIN_ID"]) != used
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
    assert 1 <= int(isolated_environment()["ROS_DOMAIN_ID"]) <= 101
