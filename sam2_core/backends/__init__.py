"""How the network's stages are executed; nothing else of the program knows."""

from .base import Backend

__all__ = ["Backend"]
