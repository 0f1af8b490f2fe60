"""What `sam2-video` makes of the masks it found: palette images, COCO JSON, a film."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..drawing import draw_overlay
from ..files import replacing
from ..masks import tight_box
from ..palette import write_palette_image
from ..video import VideoError, VideoWriter
from ..video_frames import VideoFrames
from .journal import FoundObject, Journal

_NANOSECONDS = 1_000_000_000


def write_palette_images(journal: Journal, folder: Path) -> None:
    """One PNG a frame as DAVIS has them: the pixel's value is the object's id, 0 for none.

    Where objects overlap, the one of the larger id is seen. Images of other frames, which a former run left
    in the folder, are removed.
    """
    folder.mkdir(exist_ok=True)
    left = {path for path in folder.glob("*.png") if path.stem.isdecimal()}
    for frame in tqdm(journal.frames, desc="writing masks", unit="frame"):
        size, objects = journal.read(frame)
        labels = np.zeros(size, np.uint8)
        for one in objects:
            labels[one.mask] = one.id
        path = folder / f"{frame:05}.png"
        write_palette_image(path, labels)
        left.discard(path)
    for path in left:
        path.unlink()


def write_coco(journal: Journal, path: Path, frames: VideoFrames) -> None:
    """All masks as COCO run lengths: `images` are frames, `categories` objects, `annotations` masks.

    Beside COCO's fields an annotation has `visible`, `score` (a raw logit) and `predicted_iou`, and an image
    has `time` in seconds. An object that is not visible on a frame has an empty mask there.
    """
    labels: dict[int, str] = {}
    count = 0
    with replacing(path) as temporary, temporary.open("w") as file:
        file.write('{"annotations": [')
        for frame in tqdm(journal.frames, desc="writing JSON", unit="frame"):
            for one in journal.read(frame)[1]:
                labels[one.id] = one.label or labels.get(one.id, "")
                file.write(",\n" if count else "\n")
                count += 1
                json.dump(_annotation(count, frame, one), file)
        file.write('\n],\n"images": [')
        for index, frame in enumerate(journal.frames):
            (height, width), _ = journal.read(frame)
            file.write(",\n" if index else "\n")
            image = {"id": frame, "file_name": f"{frame:05}.png", "height": height, "width": width}
            json.dump({**image, "time": frames.stamp(frame) / _NANOSECONDS}, file)
        categories = [{"id": key, "name": labels[key] or str(key)} for key in sorted(labels)]
        file.write(f'\n],\n"categories": {json.dumps(categories)}}}\n')


def write_film(journal: Journal, path: Path, frames: VideoFrames) -> None:
    """The video with every object drawn on it. Raises VideoError where frames differ in size."""
    chosen = journal.frames
    first_size, _ = journal.read(chosen[0])
    seconds = (frames.stamp(len(frames) - 1) - frames.stamp(0)) / _NANOSECONDS
    rate = (len(frames) - 1) / seconds if seconds else 1.0
    with replacing(path) as temporary, VideoWriter(temporary, rate) as writer:
        for frame in tqdm(chosen, desc="drawing the film", unit="frame"):
            size, objects = journal.read(frame)
            if size != first_size:
                raise VideoError(
                    f"{frames.source}: frame {frame} is {size[1]} x {size[0]}, the first one "
                    f"{first_size[1]} x {first_size[0]}; a film has one size (leave out its --outputs)"
                )
            writer.write(draw_overlay(frames.image(frame), objects), frames.stamp(frame))


def _annotation(number: int, frame: int, one: FoundObject) -> dict[str, object]:
    mask = one.mask
    x0, y0, x1, y1 = tight_box(mask) or (0, 0, 0, 0)
    return {
        "id": number,
        "image_id": frame,
        "category_id": one.id,
        "segmentation": {"size": list(one.size), "counts": one.counts},
        "area": int(mask.sum()),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        "visible": one.visible,
        "score": one.score,
        "predicted_iou": one.iou,
    }
