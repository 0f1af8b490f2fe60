"""Signals that arrive at any moment, two at a time."""

import subprocess
import sys

# Timer signals hit a loop that mostly enters and leaves `wait`; every one of them sets the event twice.
STORM = """
import signal
from sam2_ros.stop import Stop

stop = Stop()

def on_signal(*_):
    stop.set()
    stop.set()

signal.signal(signal.SIGALRM, on_signal)
signal.setitimer(signal.ITIMER_REAL, 1e-4, 2e-5)
for _ in range(5000):
    stop = Stop()
    while not stop.wait(1e-6):
        pass
signal.setitimer(signal.ITIMER_REAL, 0)
assert stop.is_set()
assert not Stop().wait(0.01)
"""


def test_a_signal_may_set_it_at_any_moment() -> None:
    subprocess.run([sys.executable, "-c", STORM], check=True, timeout=120)
