"""Every test, and every process that a test starts, has a ROS graph of its own on this machine."""

import os
import signal

from sam2_ros.processes import isolated_environment

os.environ.update(isolated_environment())

# What is started in the background, as these tests may be, ignores Ctrl-C, and so do its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
