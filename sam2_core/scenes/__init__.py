"""Synthetic scenes with exact ground truth: 2D procedural clips and MuJoCo tabletop clips."""

from sam2_core.scenes.scene import Scene

__all__ = ["Scene"]
