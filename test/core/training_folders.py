"""Small datasets to train on, in the layouts of the public ones, from rendered scenes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from sam2_core.masks import encode_rle
from sam2_core.palette import write_palette_image
from sam2_core.scenes.procedural import sample_scene
from sam2_core.scenes.scene import Scene
from sam2_core.training.batches import ClipBatches
from sam2_core.training.config import load_config
from sam2_core.training.datasets.opening import Datasets, FileDataset, open_datasets
from sam2_core.training.datasets.video import Video
from sam2_core.video import VideoWriter


def scene(seed: int, frames: int = 8, size: tuple[int, int] = (64, 80)) -> Scene:
    """A scene of the family that the bundled model has never seen."""
    return sample_scene(seed, frames=frames, size=size, family="held_out")


def cells(seed: int, frames: int = 8, size: tuple[int, int] = (64, 80)) -> Scene:
    """Three cells under a microscope: a bright nucleus in a faint body, in noise; they drift and turn."""
    rng = np.random.default_rng(seed)
    places, drifts = rng.uniform(0.2, 0.8, (3, 2)) * size, rng.normal(0, 0.02, (3, 2)) * size
    angles, turns = rng.uniform(0, np.pi, 3), rng.normal(0, 0.15, 3)
    axes = rng.uniform(0.1, 0.2, (3, 2)) * min(size)
    images, labels = np.empty((frames, *size, 3), np.uint8), np.zeros((frames, *size), np.uint8)
    for t in range(frames):
        light = np.full(size, 30.0)
        for index in range(3):
            angle = angles[index] + t * turns[index]
            y, x = np.indices(size) - (places[index] + t * drifts[index])[:, None, None]
            along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
            body = np.hypot(along / axes[index, 0], across / axes[index, 1]) < 1
            nucleus = np.hypot(along - axes[index, 0] / 3, across) < 0.3 * axes[index].min()
            labels[t][body] = index + 1
            light[body] = 60.0
            light[nucleus] = 190.0
        light = cv2.GaussianBlur(light, (0, 0), 1.0) + rng.normal(0, 8, size)
        images[t] = light.clip(0, 255)[..., None].astype(np.uint8)
    return Scene(images, labels, ("cell",) * 3)


def davis(
    root: Path,
    count: int,
    every: int = 1,
    make: Callable[..., Scene] = scene,
    **made: Any,
) -> Path:
    """Videos v00, v01, ... in DAVIS's folders; every n-th frame is annotated."""
    for index in range(count):
        images, masks = root / f"JPEGImages/480p/v{index:02}", root / f"Annotations/480p/v{index:02}"
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        made_scene = make(100 + index, **made)
        for t, (frame, labels) in enumerate(zip(made_scene.frames, made_scene.labels, strict=True)):
            Image.fromarray(frame).save(images / f"{t:05}.jpg", quality=95)
            if t % every == 0:
                write_palette_image(masks / f"{t:05}.png", labels)
    return root


def _code(mask: np.ndarray) -> dict[str, Any]:
    return {"size": list(mask.shape), "counts": encode_rle(mask)}


def sav(root: Path, count: int, rate: float = 24.0, every: int = 4) -> Path:
    """Videos of SA-V's training set: every n-th frame is annotated, object 0 not on the last of them."""
    root.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        name = f"sav_{index:06}"
        made = scene(200 + index, frames=25)
        with VideoWriter(root / f"{name}.mp4", rate) as writer:
            for t, frame in enumerate(made.frames):
                writer.write(frame, round(t * 1e9 / rate))
        masklet: list[list[Any]] = [
            [_code(labels == label + 1) for label in range(len(made.names))]
            for labels in made.labels[::every]
        ]
        masklet[-1][0] = None
        content = {"video_id": name, "fps": 6, "masklet": masklet, "masklet_num": len(made.names)}
        (root / f"{name}_manual.json").write_text(json.dumps(content))
    return root


def sa_1b(root: Path, count: int) -> Path:
    """Images of SA-1B."""
    root.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        made = scene(300 + index, frames=1)
        name = f"sa_{index}"
        Image.fromarray(made.frames[0]).save(root / f"{name}.jpg")
        masks = [made.labels[0] == label + 1 for label in range(len(made.names))]
        content = {
            "image": {"image_id": index, "file_name": f"{name}.jpg", "width": 80, "height": 64},
            "annotations": [{"segmentation": _code(mask), "area": int(mask.sum())} for mask in masks],
        }
        (root / f"{name}.json").write_text(json.dumps(content))
    return root


def coco(root: Path) -> Path:
    """Two images and COCO's instance file: a polygon, run lengths, a group, and an unknown image."""
    (root / "images").mkdir(parents=True)
    for index in range(2):
        Image.fromarray(scene(400 + index, frames=1).frames[0]).save(root / f"images/{index}.jpg")
    runs = {"size": [64, 80], "counts": [64 * 10, 64 * 20, 64 * 50]}
    annotations = [
        {"id": 1, "image_id": 0, "segmentation": [[10, 20, 50, 20, 50, 60, 10, 60]], "iscrowd": 0},
        {"id": 2, "image_id": 1, "segmentation": runs, "iscrowd": 0},
        {"id": 3, "image_id": 1, "segmentation": runs, "iscrowd": 1},
        {"id": 4, "image_id": 7, "segmentation": runs, "iscrowd": 0},
    ]
    images = [{"id": index, "file_name": f"{index}.jpg", "width": 80, "height": 64} for index in range(2)]
    (root / "instances.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return root / "instances.json"


def opened(frames: int, **entry: Any) -> tuple[Datasets, ClipBatches]:
    """One dataset for a run whose clips have so many frames."""
    batch = {"image_size": 64, "frames": frames, "clips": 3, "objects": 2, "prompts": {"click": 1.0}}
    config = load_config(
        None,
        {
            "model": "sam2_pico",
            "data": [entry],
            "stages": [{"steps": 50, "batches": [batch]}],
            "validation_clips": 2,
        },
    )
    datasets = open_datasets(config, quiet=True)
    return datasets, ClipBatches(config, datasets.training)


def videos(datasets: Datasets) -> list[Video]:
    """The videos or images that are trained on."""
    dataset = datasets.training[0][1]
    assert isinstance(dataset, FileDataset)
    return [source.open() for source in dataset.sources]
