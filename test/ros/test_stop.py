"""Signals that arrive at any moment, two at a time."""

import signal
import subprocess
import sys
import time

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


# Large libraries make the end of a program long; here it is as long as it is asked to be.
LONG_END = """
import time
from sam2_ros.stop import Stop, heeding_signals

class Library:
    def __del__(self, sleep=time.sleep):
        sleep(2)

library = Library()  # goes when the interpreter does, long after its handlers of signals
stop = Stop()
with heeding_signals(stop.set):
    print("ready", flush=True)
    while not stop.wait(1):
        pass
"""


def test_a_signal_may_set_it_at_any_moment() -> None:
    subprocess.run([sys.executable, "-c", STORM], check=True, timeout=120)


def test_more_signals_do_not_kill_a_program_that_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", LONG_END], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        while program.poll() is None:
            program.send_signal(signal.SIGINT)
            time.sleep(0.02)
    assert program.returncode == 0
