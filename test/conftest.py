"""Every test, and every process that a test starts, has a ROS graph of its own on this machine."""

import os

from sam2_ros.processes import isolated_environment

os.environ.update(isolated_environment())
