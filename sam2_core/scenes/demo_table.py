"""stub"""

from __future__ import annotations

PERIOD = 10.0


def build(frames, fps, objects):
    raise NotImplementedError
