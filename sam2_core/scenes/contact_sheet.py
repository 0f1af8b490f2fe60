"""A picture of what the scenes look like: ``python -m sam2_core.scenes.contact_sheet --to FILE.png``."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Picture
from tqdm import tqdm

from sam2_core.drawing import Colour, object_colour
from sam2_core.scenes import procedural, tabletop
from sam2_core.scenes.arrays import Image
from sam2_core.scenes.scene import Scene

_WHITE = (255, 255, 255)
_COLOURS = 224  # of the picture's palette: a noisy picture in all colours would be a large file


def _outline(picture: Image, mask: Image, colour: Colour) -> None:
    outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, colour, 1)


def strip(scene: Scene, shown: int) -> Image:
    """Frames of a scene side by side, evenly spaced, objects outlined in their colours, parts in white."""
    tiles = []
    for index in np.linspace(0, len(scene.frames) - 1, shown).astype(int):
        tile = scene.frames[index].copy()
        if scene.parts is not None:
            for part in np.unique(scene.parts[index])[1:]:
                _outline(tile, (scene.parts[index] == part).astype(np.uint8), _WHITE)
        for label in range(1, len(scene.names) + 1):
            _outline(tile, (scene.labels[index] == label).astype(np.uint8), object_colour(label))
        tiles.append(tile)
    return np.concatenate(tiles, axis=1)


def main() -> None:
    """Draw clips of a family, 2D scenes first, then tabletops, in two columns."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--family", choices=("train", "held_out", "held_out_hard"), default="train")
    parser.add_argument("--procedural", type=int, default=12, help="number of 2D scenes")
    parser.add_argument("--tabletop", type=int, default=4, help="number of tabletops")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=16, help="frames of each clip")
    parser.add_argument("--shown", type=int, default=4, help="of which so many are shown")
    parser.add_argument("--size", type=int, default=128, help="side of a frame, pixels")
    parser.add_argument("--to", type=Path, required=True, help="PNG file")
    options = parser.parse_args()
    sources = [procedural.sample_scene] * options.procedural + [tabletop.sample_scene] * options.tabletop
    size = (options.size, options.size)
    strips = [
        strip(source(options.first_seed + index, options.frames, size, options.family), options.shown)
        for index, source in enumerate(tqdm(sources, unit="clip"))
    ]
    strips += [np.zeros_like(strips[0])] * (len(strips) % 2)
    rows = [np.concatenate(strips[index : index + 2], axis=1) for index in range(0, len(strips), 2)]
    picture = Picture.fromarray(np.concatenate(rows)).quantize(_COLOURS, dither=Picture.Dither.NONE)
    picture.save(options.to, optimize=True)


if __name__ == "__main__":
    main()
