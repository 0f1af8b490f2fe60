"""Rendered scenes on disk: under `$XDG_CACHE_HOME/sam2_ros/scenes`, a folder of arrays per scene."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sam2_core import files
from sam2_core.scenes.scene import Scene

GENERATOR_VERSION = 3  # raise it with every change of what the generators draw

SceneT = TypeVar("SceneT", bound=Scene)


def cache_folder() -> Path:
    """Where rendered scenes are kept."""
    return files.cache_folder("scenes")


def load_or_render(kind: type[SceneT], key: dict[str, Any], render: Callable[[], SceneT]) -> SceneT:
    """The scene that was stored under `key`, or that `render` makes and that is then stored.

    `key` names everything that the scene depends on, in values that JSON can hold. The arrays of the result
    are read-only maps of files: they cost no memory until they are read. A damaged scene is rendered again.
    """
    text = json.dumps({"version": GENERATOR_VERSION, **key}, sort_keys=True)
    folder = cache_folder() / hashlib.sha256(text.encode()).hexdigest()[:24]
    try:
        return _load(kind, folder)
    except (OSError, EOFError, ValueError, KeyError, TypeError):  # missing, truncated, or of another layout
        shutil.rmtree(folder, ignore_errors=True)
    _store(render(), folder)
    return _load(kind, folder)


def _load(kind: type[SceneT], folder: Path) -> SceneT:
    values = json.loads((folder / "scene.json").read_text())
    values["names"] = tuple(values["names"])
    values["kinds"] = frozenset(values["kinds"])
    values["owners"] = tuple(values["owners"])
    arrays = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
    return kind(**values, **arrays)


def _store(scene: Scene, folder: Path) -> None:
    """Write a scene beside its place and rename it there, so that no other process ever sees half of it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=folder.parent))
    try:
        values: dict[str, Any] = {}
        for name in (field.name for field in fields(scene)):
            value = getattr(scene, name)
            if isinstance(value, np.ndarray):
                np.save(partial / f"{name}.npy", value)
            else:
                values[name] = sorted(value) if isinstance(value, frozenset) else value
        (partial / "scene.json").write_text(json.dumps(values))
        partial.rename(folder)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        if not folder.exists():  # otherwise another process has stored the same scene meanwhile
            raise
