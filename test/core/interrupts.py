"""Child processes that are interrupted, or cannot write."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


def interrupt(command: list[str], frames: int, folder: Path) -> str:
    """Sends Ctrl-C to a tool that has tracked so many frames at least; returns what it told on stderr."""
    told = folder / "told.txt"
    # The bar tells all frames. One thread, as in the tests' process: with more, sums round in another order.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_MININTERVAL": "0", "TQDM_MINITERS": "1"}
    with (
        told.open("wb") as stderr,
        subprocess.Popen(command, stderr=stderr, env=environment) as process,
    ):
        while process.poll() is None and _tracked(told) < frames:
            time.sleep(0.002)  # a small part of the time that a frame takes
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130, told.read_text()
    assert "Traceback" not in told.read_text()
    return told.read_text()


def _tracked(told: Path) -> int:
    """How many frames the newest progress bar counts."""
    bars = re.findall(r"tracking: .* (\d+)/\d+ ", told.read_text().replace("\r", "\n"))
    return max(map(int, bars), default=0)


def files_up_to(size: int) -> Callable[[], None]:
    """For `preexec_fn`: no file may grow beyond so many bytes, as if the disk were full."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
