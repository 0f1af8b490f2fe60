"""What can stop a training run."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """A run cannot begin or go on; the message says why."""
