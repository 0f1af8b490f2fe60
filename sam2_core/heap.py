"""How the C library's heap treats large tensors."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # malloc.h


def keep_freed_memory() -> None:
    """Make this process reuse freed memory instead of returning it to the system; for a program's start.

    glibc maps every large tensor anew and unmaps it afterwards: the page faults of that cost a fifth of a
    training step, and the resident memory of a tracker rises and falls with every frame. Does nothing where
    the C library is not glibc.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_ARENA_MAX, 1)  # else every thread keeps memory that the others cannot reuse
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
