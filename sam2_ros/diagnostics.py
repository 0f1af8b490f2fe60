"""The node's state as diagnostic_msgs, one status per camera and one for the node."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from sam2_ros.camera import Camera
from sam2_ros.statistics import Drop

_MEGABYTE = 1e6


def camera_status(node_name: str, camera: Camera) -> DiagnosticStatus:
    """Rates, latency, drops, objects and memory of one camera."""
    state = camera.statistics.snapshot()
    problems = camera.problems.recent()
    if silence := camera.silence:
        level, message = DiagnosticStatus.STALE, silence
    elif problems:
        level, message = DiagnosticStatus.WARN, problems[0]
    else:
        level, message = (
            DiagnosticStatus.OK,
            f"{len(camera.objects)} objects, {state.output_rate:.1f} frames/s",
        )
    values = {
        "input rate [Hz]": f"{state.input_rate:.2f}",
        "output rate [Hz]": f"{state.output_rate:.2f}",
        "latency median [ms]": f"{state.latency_median:.1f}",
        "latency p95 [ms]": f"{state.latency_p95:.1f}",
        "network time [ms]": f"{state.network_time:.1f}",
        "own time [ms]": f"{state.own_time:.1f}",
        "frames received": str(state.received),
        "frames tracked": str(state.tracked),
        **{f"dropped: {reason.value}": str(state.dropped.get(reason, 0)) for reason in Drop},
        "objects": str(len(camera.objects)),
        "tracker memory [MB]": f"{camera.memory_bytes / _MEGABYTE:.1f}",
    }
    return _status(f"{node_name}: {camera.name}", camera.topic, level, message, values)


def node_status(node_name: str, state: str, identity: dict[str, str], error: str) -> DiagnosticStatus:
    """State of life, model and backend; `error` says why the model could not be loaded."""
    level = DiagnosticStatus.OK if state == "active" else DiagnosticStatus.WARN
    values = {**identity, "resident memory [MB]": f"{_resident_bytes() / _MEGABYTE:.1f}"}
    if error:
        return _status(node_name, "", DiagnosticStatus.ERROR, error, values)
    return _status(node_name, "", level, state, values)


def _status(name: str, hardware: str, level: bytes, message: str, values: dict[str, str]) -> Any:
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, hardware_id=hardware, message=message, values=pairs)


def _resident_bytes() -> int:
    """Physical memory that this process occupies, from the kernel's own account."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
