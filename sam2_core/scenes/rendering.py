"""Rendering without a display, through MuJoCo: colour, instance labels and metric depth."""

from __future__ import annotations

import ctypes.util
import os
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from sam2_core.scenes.arrays import Image
from sam2_core.scenes.world import World, describe

PROGRESS_FROM = 60  # frames; fewer are rendered in about two seconds and show no progress bar

_REMEDY = "to render, sudo apt-get install libosmesa6 (or libegl1 libegl-mesa0)"


class RenderingUnavailableError(RuntimeError):
    """No way to render without a display works on this machine; the message says what to install."""


def _import_mujoco() -> ModuleType:
    """MuJoCo, told before its first import to render without a display, unless the user has chosen a way."""
    if "MUJOCO_GL" not in os.environ:
        found = [name for name in ("OSMesa", "EGL") if ctypes.util.find_library(name)]
        if not found:
            raise RenderingUnavailableError(f"no OSMesa and no EGL on this machine: {_REMEDY}")
        os.environ["MUJOCO_GL"] = found[0].lower()
    try:
        import mujoco
    except ModuleNotFoundError:
        raise
    except Exception as error:
        raise _unavailable(error) from error
    return mujoco


def _unavailable(error: Exception) -> RenderingUnavailableError:
    """MuJoCo, PyOpenGL and ctypes each fail in their own way; the user has the same remedy for all."""
    way = os.environ.get("MUJOCO_GL")
    return RenderingUnavailableError(f"MUJOCO_GL={way} does not work ({error}): {_REMEDY}")


def look_at(place: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rotation [3, 3] of an upright camera that looks along its -z axis, with x to the right and y up."""
    back = (place - target) / np.linalg.norm(place - target)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(back, right), back], axis=1)


def render(
    world: World, frames: int, size: tuple[int, int]
) -> tuple[Image, npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Render the first `frames` frames of a world at `size` (height, width).

    Returns colour uint8 [T, H, W, 3], which of `World.segments` shows, uint8 [T, H, W], and depth along the
    optical axis in metres, float32 [T, H, W].

    Raises:
        RenderingUnavailableError: this machine has no way to render without a display.
    """
    mujoco = _import_mujoco()
    xml, files = describe(world, size)
    model = mujoco.MjModel.from_xml_string(xml, files)
    data = mujoco.MjData(model)
    try:
        renderer = mujoco.Renderer(model, *size)
    except Exception as error:
        raise _unavailable(error) from error
    numbers = world.segments()
    segment_of_geom = np.zeros(model.ngeom + 1, np.uint8)  # the last one, index -1, is what no geom covers
    for number, body in enumerate(world.bodies):
        segment_of_geom[:-1][model.geom_bodyid == model.body(f"body{number}").id] = [
            numbers.get((body.label, part.surface), 0) for part in body.solid.parts
        ]

    colour = np.empty((frames, *size, 3), np.uint8)
    segments = np.empty((frames, *size), np.uint8)
    depth = np.empty((frames, *size), np.float32)
    try:
        for index in tqdm(range(frames), "rendering the scene", unit="frame", disable=frames < PROGRESS_FROM):
            _pose(mujoco, model, data, world, index)
            renderer.update_scene(data, camera="camera")
            renderer.render(out=colour[index])
            renderer.enable_segmentation_rendering()
            segments[index] = segment_of_geom[renderer.render()[..., 0]]
            renderer.disable_segmentation_rendering()
            renderer.enable_depth_rendering()
            renderer.render(out=depth[index])
            renderer.disable_depth_rendering()
    finally:
        renderer.close()
    return colour, segments, depth


def _pose(mujoco: ModuleType, model: Any, data: Any, world: World, index: int) -> None:
    for number, body in enumerate(world.bodies):
        mocap = model.body(f"body{number}").mocapid[0]
        data.mocap_pos[mocap] = body.place[index]
        data.mocap_quat[mocap] = body.turn[index]
    mocap = model.body("camera").mocapid[0]
    data.mocap_pos[mocap] = world.view.place[index]
    mujoco.mju_mat2Quat(
        data.mocap_quat[mocap], look_at(world.view.place[index], world.view.target[index]).ravel()
    )
    mujoco.mj_forward(model, data)
