"""How the network's stages are executed; nothing else of the program knows."""

from .base import Backend, ImageBackend

__all__ = ["Backend", "ImageBackend"]
