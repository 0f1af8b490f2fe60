"""Runs the package's programs as child processes in a ROS graph of their own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType

_PACKAGE_ROOT = Path(__file__).resolve().parent.parent
_LOG_LINES = 12  # of a dead process, shown to the user
_PATIENCE = 10.0  # [s] that a process gets to end by itself
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_DOMAINS = 101  # from 1 on: those whose ports lie below the ones that Linux gives away


class ProcessDiedError(RuntimeError):
    """A process that had to live has ended; the text has its last log lines."""


@dataclass(frozen=True)
class Child:
    """A running program."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def finished(self) -> bool:
        """Whether it has ended without an error. Raises ProcessDiedError where it ended with one."""
        status = self.process.poll()
        if status:
            how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
            lines = self.log.read_text(errors="replace").strip().splitlines()[-_LOG_LINES:]
            raise ProcessDiedError(
                "\n  ".join([f"the {self.name} died ({how}); the end of its log:", *lines])
            )
        return status is not None

    def check(self) -> None:
        """Raises ProcessDiedError unless it still runs."""
        if self.finished:
            raise ProcessDiedError(f"the {self.name} ended before its time; its log is {self.log}")

    def resident_memory(self) -> float:
        """Physical memory that it occupies now [MB]."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def ask_to_end(self) -> None:
        """Sends it SIGINT, as Ctrl-C does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def wait_or_kill(self) -> None:
        """Waits for its end, for some time, and then enforces it."""
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def end(self) -> None:
        """Ends it, by force where asking does not help."""
        self.ask_to_end()
        self.wait_or_kill()


class Programs:
    """The child processes of one run; a context manager that leaves none behind."""

    def __init__(self, log_directory: Path) -> None:
        self._log_directory = log_directory
        self._children: list[Child] = []
        self._environment = isolated_environment()

    def start(self, name: str, module: str, arguments: Sequence[str] = ()) -> Child:
        """Runs `python -m module arguments` with its output in `<log directory>/<name>.log`."""
        self._log_directory.mkdir(parents=True, exist_ok=True)
        log = self._log_directory / f"{name.replace(' ', '_')}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone, and we end the children in order
                preexec_fn=_die_with_parent,
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def __enter__(self) -> Programs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            child.ask_to_end()
        for child in self._children:
            child.wait_or_kill()


def ros_arguments(parameters: Mapping[str, object], topics: Mapping[str, str] | None = None) -> list[str]:
    """Command line arguments that set a node's parameters and rename its topics."""
    arguments = ["--ros-args"]
    for name, value in parameters.items():
        arguments += ["-p", f"{name}:={_yaml(value)}"]
    for name, topic in (topics or {}).items():
        arguments += ["-r", f"{name}:={topic}"]
    return arguments


def isolated_environment() -> dict[str, str]:
    """The environment for a ROS graph that stays on this machine, apart from others, with large images."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(_PACKAGE_ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    )
    environment["PYTHONUNBUFFERED"] = "1"
    environment["ROS_DOMAIN_ID"] = str(_own_domain())
    if environment.get("ROS_DISTRO") == "humble":
        environment["ROS_LOCALHOST_ONLY"] = "1"
    else:
        environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    variable, profile = large_image_profile(environment)
    environment[variable] = str(profile)
    return environment


def large_image_profile(environment: Mapping[str, str]) -> tuple[str, Path]:
    """The variable, and the file for it to name, with which Fast DDS carries large images."""
    distribution = environment.get("ROS_DISTRO")
    # Fast DDS 2 knows the variable by an older name.
    old = distribution in ("humble", "jazzy")
    # Humble keeps a process on its machine by a transport of its own, beside those of the profile.
    alone = distribution == "humble" and environment.get("ROS_LOCALHOST_ONLY") == "1"
    return (
        "FASTRTPS_DEFAULT_PROFILES_FILE" if old else "FASTDDS_DEFAULT_PROFILES_FILE",
        _configuration() / f"fastdds_large_images{'_localhost' if alone else ''}.xml",
    )


@lru_cache(maxsize=1)
def _own_domain() -> int:
    """The domain of this process and of those that it starts."""
    return free_domain(1 + os.getpid() % _DOMAINS)


def free_domain(first: int) -> int:
    """A ROS domain that nobody on this machine uses: `first`, 1 to 101, or the next one that is free.

    Raises:
        RuntimeError: all are in use.
    """
    for offset in range(_DOMAINS):
        domain = 1 + (first - 1 + offset) % _DOMAINS
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            # The first participant of a domain receives its discovery traffic here (DDSI-RTPS, 9.6.1.1).
            probe.bind(("", 7410 + 250 * domain))
            return domain
    raise RuntimeError(f"all {_DOMAINS} ROS domains are in use on this machine")


def _configuration() -> Path:
    """The folder config/ of the checkout, or where it is installed."""
    checkout = _PACKAGE_ROOT / "config"
    if checkout.exists():
        return checkout
    from ament_index_python import get_package_share_directory

    return Path(get_package_share_directory("sam2_ros")) / "config"


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_yaml(item) for item in value)}]"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def _die_with_parent() -> None:
    """In the child: lets the kernel end it when we are killed and cannot."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
