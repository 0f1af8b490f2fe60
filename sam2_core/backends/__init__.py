"""How the network's stages are executed; nothing else of the program knows."""

from .base import Backend, ImageBackend
from .choose import BACKENDS, BackendOptions, LoadedBackend, load_backend

__all__ = ["BACKENDS", "Backend", "BackendOptions", "ImageBackend", "LoadedBackend", "load_backend"]
