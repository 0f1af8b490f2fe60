"""Files: those that are there whole or not at all, those that can be made again, those that were changed."""

from __future__ import annotations

import os
import secrets
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

_ABANDONED = 24 * 3600.0
"""Time for which nobody wrote to a file that is not complete, after which it is removed [s]."""


def cache_folder(kind: str) -> Path:
    """`$XDG_CACHE_HOME/sam2_ros/<kind>`: where things are kept that can be made again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sam2_ros" / kind


def describe_files(paths: Iterable[Path]) -> str:
    """Text that is another one where files were changed or replaced; their contents are not read.

    It holds their size and a checksum of paths, sizes and times of change. Folders, and files that are not
    there, are left out.
    """
    states = [(str(path.absolute()), path.stat()) for path in paths if path.is_file()]
    facts = sorted((name, state.st_size, state.st_mtime_ns) for name, state in states)
    total = sum(size for _, size, _ in facts)
    return f"{total} bytes, files {zlib.crc32(repr(facts).encode()):08x}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place once it is complete: no reader ever sees half of it.

    It is hidden and the caller's own: others may replace `path` at the same time, and the last one stays.
    What a process leaves that is killed, one that writes into this folder a day later removes.
    """
    _remove_abandoned(path.parent)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_durably(path: Path, data: bytes | memoryview) -> None:
    """Replaces a file's contents; even a power cut leaves it with the old ones or with the new, not less."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@cache
def _remove_abandoned(folder: Path) -> None:
    """Removes what earlier processes left that were killed; once for every folder."""
    for path in folder.glob(".*.????????.part*"):
        with suppress(OSError):  # another process removed it, or took it to its place
            if time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()
