"""Files: those that are there whole or not at all, those that can be made again, those that were changed."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """`$XDG_CACHE_HOME/sam2_ros/<kind>`: where things are kept that can be made again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sam2_ros" / kind


def describe_files(paths: Iterable[Path]) -> str:
    """Text that is another one where files were changed or replaced; their contents are not read.

    It holds their size and a checksum of names, sizes and times of change. Folders are left out.
    """
    states = [(path.name, path.stat()) for path in paths if path.is_file()]
    facts = sorted((name, state.st_size, state.st_mtime_ns) for name, state in states)
    total = sum(size for _, size, _ in facts)
    return f"{total} bytes, files {zlib.crc32(repr(facts).encode()):08x}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place once it is complete: no reader ever sees half of it."""
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
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
