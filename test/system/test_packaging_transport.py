"""The Fast DDS profile that the package ships lets large best-effort images through."""

import os
import subprocess
import sys
import threading

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Empty

from sam2_ros.processes import large_image_profile

FRAMES = 60
# Deep enough that a listener which the machine leaves waiting loses nothing: the transport alone is tested.
QOS = QoSProfile(depth=FRAMES, reliability=ReliabilityPolicy.BEST_EFFORT)

# Publishes at 30 Hz once it is heard, and stays until it has been told that its last image may have arrived.
CAMERA = f"""
import array, sys, threading
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Empty

width, height = int(sys.argv[1]), int(sys.argv[2])
rclpy.init()
node = rclpy.create_node("camera")
images = node.create_publisher(Image, "image", qos_profile_sensor_data)
ended = node.create_publisher(Empty, "ended", 1)
done = threading.Event()
node.create_subscription(Empty, "done", lambda _: done.set(), 1)
image = Image(width=width, height=height, step=3 * width, encoding="rgb8")
image.data = array.array("B", bytes(3 * width * height))
frames = iter(range({FRAMES}))

def tick():
    if images.get_subscription_count() and ended.get_subscription_count():
        if next(frames, None) is None:
            ended.publish(Empty())
        else:
            images.publish(image)

node.create_timer(1 / 30, tick)
while not done.is_set():
    rclpy.spin_once(node)
"""


@pytest.mark.parametrize("size", [(640, 480), (1280, 720)])
def test_best_effort_images_arrive_in_another_process(size: tuple[int, int]) -> None:
    variable, profile = large_image_profile(os.environ)
    assert os.environ[variable] == str(profile)
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("listener", context=context)
    arrived, ended = [], threading.Event()
    node.create_subscription(Image, "image", lambda image: arrived.append(image.width), QOS)
    node.create_subscription(Empty, "ended", lambda _: ended.set(), 1)
    done = node.create_publisher(Empty, "done", 1)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    with subprocess.Popen([sys.executable, "-c", CAMERA, *map(str, size)]) as camera:
        while not ended.is_set():
            assert camera.poll() is None
            executor.spin_once(timeout_sec=1.0)
        done.publish(Empty())
        while camera.poll() is None:
            executor.spin_once(timeout_sec=0.1)
    node.destroy_node()
    rclpy.shutdown(context=context)
    # Without the profile, about one image in fifty arrives.
    assert len(arrived) >= 0.8 * FRAMES
    assert set(arrived) == {size[0]}
