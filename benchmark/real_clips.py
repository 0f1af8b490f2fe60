"""Scores a checkpoint on real clips, of which a few frames are annotated by hand (test/real_clips).

The clips are not part of the project: juggle.mp4 and dog.mp4 of demo/data/gallery, and bedroom.mp4 of
notebooks/videos, all of facebookresearch/sam2. Every object gets one click in its middle on frame 0; then, on
the frame on which it was found worst, one correction. Told is J after each, over the annotated frames.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from sam2_core.files import replacing
from sam2_core.masks import decode_rle
from sam2_core.tools import eval as sam2_eval
from sam2_core.video import VideoError
from sam2_core.video_frames import open_frames

ANNOTATIONS = Path(__file__).parents[1] / "test" / "real_clips"
FRAMES, MASKS = "JPEGImages_24fps", "Annotations_6fps"  # as SA-V has them


def lay_out(annotation: Path, clips: Path, dataset: Path) -> None:
    """Adds one annotated clip to a folder of SA-V's form: its frames, and the masks of the annotated ones.

    Raises:
        VideoError: the clip is missing, unreadable, shorter than what is annotated, or of another size.
    """
    content = json.loads(annotation.read_text())
    images = {image["id"]: image for image in content["images"]}
    frames = open_frames(clips / content["info"]["video"])
    if len(frames) <= max(images):
        raise VideoError(f"{frames.source}: has {len(frames)} frames; allowed: more than {max(images)}")
    for number, image in images.items():
        height, width = frames.image(number).shape[:2]
        if (height, width) != (image["height"], image["width"]):
            wanted = f"{image['width']} x {image['height']}"
            raise VideoError(f"{frames.source}: is {width} x {height}; allowed: {wanted}")
    folder = dataset / FRAMES / annotation.stem
    folder.mkdir(parents=True, exist_ok=True)
    for number in tqdm(range(len(frames)), annotation.stem, unit="frame"):
        if not (path := folder / f"{number:05}.jpg").exists():
            with replacing(path) as temporary:
                Image.fromarray(frames.image(number)).save(temporary, quality=95)
    names = {category["id"]: category["name"] for category in content["categories"]}
    for one in content["annotations"]:
        mask = decode_rle(one["segmentation"]["counts"], *one["segmentation"]["size"])
        path = dataset / MASKS / annotation.stem / names[one["category_id"]] / f"{one['image_id']:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_mtime > annotation.stat().st_mtime:
            continue  # written again, it would be scored again
        Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def main() -> int:
    """Scores a checkpoint on the annotated clips. Every other option goes to sam2-eval."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, epilog="options of sam2-eval: sam2-eval --help"
    )
    parser.add_argument(
        "--clips", type=Path, required=True, help="folder of juggle.mp4, dog.mp4, bedroom.mp4"
    )
    parser.add_argument("--out", type=Path, required=True, help="where the frames and the results go")
    options, others = parser.parse_known_args()
    try:
        for annotation in sorted(ANNOTATIONS.glob("*.json")):
            lay_out(annotation, options.clips, options.out / "dataset")
    except VideoError as error:
        parser.error(str(error))
    scores = options.out / "scores"
    protocol = ["--protocol", "offline", "--frames", "2", "--clicks", "1"]
    if status := sam2_eval.main([str(options.out / "dataset"), *protocol, "--out", str(scores), *others]):
        return status
    print("\n| clip | object | J, one click | J, one correction |\n|---|---|---:|---:|")
    for clip, video in json.loads((scores / "results.json").read_text())["videos"].items():
        for name, one in video["objects"].items():
            print(f"| {clip} | {name} | {one['j'][0]:.3f} | {one['j'][1]:.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
