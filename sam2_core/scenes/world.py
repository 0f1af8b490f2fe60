"""What a rendered world is made of, and its description in MuJoCo's XML."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

import cv2
import numpy as np
import numpy.typing as npt

from sam2_core.scenes.arrays import Image
from sam2_core.scenes.household import Solid
from sam2_core.scenes.meshes import Mesh
from sam2_core.scenes.motion import Path


@dataclass(frozen=True)
class Body:
    """A solid with its surfaces (uint8 [h, w, 3] each) and label (0: not an object), how shiny, and its path.

    `place` [T, 3] in metres and `turn` [T, 4] (quaternion w, x, y, z) put it into the world on each frame.
    """

    solid: Solid
    surfaces: tuple[Image, ...]
    label: int
    shine: float
    place: Path
    turn: Path


@dataclass(frozen=True)
class Lamp:
    """A spot light at `place` that shines on the origin, `colour` in 0..1, and whether it casts shadows."""

    place: tuple[float, float, float]
    colour: tuple[float, float, float]
    shadow: bool


@dataclass(frozen=True)
class View:
    """A camera: `fovy` in degrees, `place` [T, 3] and the point it looks at, `target` [T, 3], in metres."""

    fovy: float
    place: Path
    target: Path


@dataclass(frozen=True)
class World:
    """All that is rendered: bodies (furniture too), lamps, the camera, the light from everywhere (0..1)."""

    bodies: tuple[Body, ...]
    lamps: tuple[Lamp, ...]
    view: View
    ambient: float

    def segments(self) -> dict[tuple[int, int], int]:
        """A number from 1 for every (label, surface of the solid) of the labelled bodies, in this order."""
        labelled = [body for body in self.bodies if body.label]
        keys = sorted({(body.label, part.surface) for body in labelled for part in body.solid.parts})
        return {key: number for number, key in enumerate(keys, start=1)}


def _text(values: npt.ArrayLike) -> str:
    return " ".join(f"{value:.6g}" for value in np.ravel(values))


def _add_mesh(assets: ElementTree.Element, name: str, mesh: Mesh) -> None:
    # Only the skin is drawn: "shell" spares MuJoCo the volume, which an open tube does not have.
    ElementTree.SubElement(
        assets,
        "mesh",
        name=name,
        vertex=_text(mesh.vertices),
        face=_text(mesh.faces),
        texcoord=_text(mesh.texture),
        inertia="shell",
    )


def _png(image: Image) -> bytes:
    _, data = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return data.tobytes()


def describe(world: World, size: tuple[int, int]) -> tuple[str, dict[str, bytes]]:
    """The world in MuJoCo's XML, one mocap body per thing and one for the camera, and the files it names."""
    root = ElementTree.Element("mujoco")
    ElementTree.SubElement(root, "statistic", extent="1", center="0 0 0")
    visual = ElementTree.SubElement(root, "visual")
    ElementTree.SubElement(visual, "global", offheight=str(size[0]), offwidth=str(size[1]))
    ElementTree.SubElement(visual, "quality", shadowsize=str(4 * size[0]), offsamples="4")
    ElementTree.SubElement(visual, "map", znear="0.02", zfar="30", shadowclip="1.5")
    ElementTree.SubElement(
        visual, "headlight", ambient=_text([world.ambient] * 3), diffuse="0 0 0", specular="0 0 0"
    )
    assets = ElementTree.SubElement(root, "asset")
    top = ElementTree.SubElement(root, "worldbody")
    files: dict[str, bytes] = {}
    for lamp in world.lamps:
        ElementTree.SubElement(
            top,
            "light",
            pos=_text(lamp.place),
            dir=_text(-np.array(lamp.place)),
            diffuse=_text(lamp.colour),
            specular=_text(np.array(lamp.colour) * 0.5),
            cutoff="50",
            exponent="1",
            castshadow=str(lamp.shadow).lower(),
        )
    for number, body in enumerate(world.bodies):
        for surface, image in enumerate(body.surfaces):
            name = f"{number}_{surface}"
            files[f"{name}.png"] = _png(image)
            ElementTree.SubElement(assets, "texture", name=name, type="2d", file=f"{name}.png")
            shine = f"{body.shine:.3g}"
            ElementTree.SubElement(
                assets, "material", name=name, texture=name, specular=shine, shininess="0.6"
            )
        element = ElementTree.SubElement(top, "body", name=f"body{number}", mocap="true")
        for index, part in enumerate(body.solid.parts):
            mesh = f"{number}_{index}"
            _add_mesh(assets, mesh, part.mesh)
            ElementTree.SubElement(
                element,
                "geom",
                type="mesh",
                mesh=mesh,
                material=f"{number}_{min(part.surface, len(body.surfaces) - 1)}",
                contype="0",
                conaffinity="0",
            )
    camera = ElementTree.SubElement(top, "body", name="camera", mocap="true")
    ElementTree.SubElement(camera, "camera", name="camera", fovy=f"{world.view.fovy:.6g}")
    return ElementTree.tostring(root, encoding="unicode"), files
