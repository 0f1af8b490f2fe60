"""How a tool that works for long ends: when it is done, when something is wrong, when it is interrupted."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from ..heap import keep_freed_memory

_INTERRUPTED = 130  # as a shell has it: 128 + SIGINT


def run_program(
    name: str,
    work: Callable[[], None],
    errors: tuple[type[Exception], ...],
    explain: Callable[[OSError], str],
    interrupted: str,
) -> int:
    """Does the work of a tool, tells on stderr what stopped it, and returns the exit status.

    Args:
        name: of the tool.
        work: all that it does.
        errors: those whose message tells the user what is wrong.
        explain: what to tell of a file that cannot be read or written.
        interrupted: what to tell after Ctrl-C, or after SIGTERM, a service manager's polite request.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    keep_freed_memory()
    try:
        work()
    except errors as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{name}: {explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted; {interrupted}", file=sys.stderr)
        return _INTERRUPTED
    return 0


def named(error: OSError) -> str:
    """The file of an error after a blank, as far as it is known."""
    return f" {error.filename}" if error.filename else ""
