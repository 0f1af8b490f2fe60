"""Graphs of one's own."""

from __future__ import annotations

import os

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
