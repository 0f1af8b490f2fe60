"""Interrupting a child process."""

from __future__ import annotations

import signal


def heed_interrupts() -> None:
    """For `preexec_fn`: what is started in the background, as these tests may be, ignores SIGINT else."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
