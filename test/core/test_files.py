"""Files that take their place when they are complete, whoever else writes there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_stand_in import DEVICE

from sam2_core.backends.engine_cache import EngineCache, EngineKey
from sam2_core.files import replacing

HOUR = 3600.0

KILLED = """
import os, sys
from pathlib import Path
from sam2_core.files import replacing

with replacing(Path(sys.argv[1])) as part:
    part.write_text("half")
    os._exit(0)
"""


def test_two_writers_of_a_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "engine.plan"
    with replacing(path) as first:
        first.write_text("of the first")
        with replacing(path) as second:
            second.write_text("of the second")
        assert path.read_text() == "of the second"
    assert path.read_text() == "of the first"  # which was complete last
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("age", "stays"), [(HOUR, True), (48 * HOUR, False)])
def test_what_a_killed_process_leaves_is_removed_when_nobody_writes_it(
    tmp_path: Path, age: float, stays: bool
) -> None:
    subprocess.run([sys.executable, "-c", KILLED, tmp_path / "engine.plan"], check=True)
    (left,) = tmp_path.iterdir()
    os.utime(left, (time.time() - age, time.time() - age))
    other = tmp_path / "other.plan"
    with replacing(other) as part:
        part.write_text("whole")
    assert set(tmp_path.iterdir()) == ({left, other} if stays else {other})


def test_a_record_that_is_being_written_is_none_yet(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    record = cache.store(EngineKey(DEVICE, "m", "b", "bf16", "g"), b"plan", 1.0)
    (path,) = tmp_path.glob("*.json")
    with replacing(path) as part:
        part.write_bytes(path.read_bytes())
        assert cache.records() == [record]
