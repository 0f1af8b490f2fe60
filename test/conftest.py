"""Every test, and every process that a test starts, has a ROS graph of its own on this machine."""

import os
import signal
from pathlib import Path

import pytest

from sam2_ros.processes import isolated_environment

os.environ.update(isolated_environment())

# What is started in the background, as these tests may be, ignores Ctrl-C, and so do its children.
signal.signal(signal.SIGINT, signal.default_int_handler)

_TESTS = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a file share what they set up and stay together; those that start trackers run in a row."""
    for item in items:
        place = item.path.relative_to(_TESTS)
        item.add_marker(pytest.mark.xdist_group(str(place) if place.parts[0] == "core" else "ros"))
