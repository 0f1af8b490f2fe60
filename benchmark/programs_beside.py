"""The programs that are compared, each as an iterator over frames; same weights, prompts and device."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Timed
from numpy.typing import NDArray
from speed import prompts
from torch.nn import functional as F

from sam2_core.backends import Backend
from sam2_core.model import Sam2Network
from sam2_core.model.checkpoint import Checkpoint, write_checkpoint
from sam2_core.model.preprocess import preprocess
from sam2_core.tracking import PointPrompt, StreamingTracker, TrackerOptions

sys.path.append(str(Path(__file__).parents[1] / "test" / "core"))

from official import declare_torchvision_operators, propagation
from scenario import HEIGHT, WIDTH

Images = Sequence[NDArray[np.uint8]]
Steps = Iterator[object]
"""Each next() takes a frame and waits for its masks."""
Program = Callable[[Sam2Network, int, Images], Steps]
"""Of a network in float32, a number of objects and the frames."""


def checkpoint_of(network: Sam2Network) -> Checkpoint:
    """A network's weights, to be written."""
    state = {key: value.cpu() for key, value in network.state_dict().items()}
    return Checkpoint(Path("random weights"), "random", network.config, state, images_only=False)


def track(backend: Backend | Timed, objects: int, images: Images) -> Steps:
    """Our tracker with any backend."""
    tracker = StreamingTracker(backend, TrackerOptions(max_objects=objects))
    for index, image in enumerate(images):
        result = tracker.track(image, index)
        if index == 0:
            for given in prompts(objects):
                tracker.add_prompt(given.prompt)
        yield [one.mask for one in result.objects]


def official(network: Sam2Network, objects: int, images: Images) -> Steps:
    """The official video predictor as it is."""
    yield from _official(network, objects, images, compiled=False)


def official_compiled(network: Sam2Network, objects: int, images: Images) -> Steps:
    """The official video predictor with `vos_optimized=True`."""
    yield from _official(network, objects, images, compiled=True)


def _official(network: Sam2Network, objects: int, images: Images, compiled: bool) -> Steps:
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        with _as_published(network):
            passed = propagation(network, images, prompts(objects), compiled)
        while True:
            with _as_published(network):
                found: Any = next(passed, None)
            if found is None:
                return
            yield (found[2] > 0).cpu()


def transformers(network: Sam2Network, objects: int, images: Images) -> Steps:
    """Hugging Face's `Sam2VideoModel` in a streaming session."""
    declare_torchvision_operators()
    from transformers import Sam2VideoInferenceSession, Sam2VideoModel

    config, device = network.config, network.device
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(checkpoint_of(network), Path(folder) / "model")
        model = Sam2VideoModel.from_pretrained(Path(folder) / "model").eval().to(device)
    session = Sam2VideoInferenceSession(
        video_height=config.image_size,
        video_width=config.image_size,
        inference_device=device,
        inference_state_device=device,
        video_storage_device=device,
        dtype=torch.float32,
    )
    for index, image in enumerate(images):
        pixels = preprocess(image, config.image_size, device)
        if index == 0:
            session.add_new_frame(pixels)
            for given in prompts(objects):
                assert isinstance(given.prompt, PointPrompt)
                scale = config.image_size / np.array([WIDTH, HEIGHT])
                points = torch.tensor(given.prompt.points * scale, dtype=torch.float32, device=device)
                labels = torch.tensor(given.prompt.labels, dtype=torch.int32, device=device)
                session.add_point_inputs(
                    session.obj_id_to_idx(given.object_id),
                    0,
                    {"point_coords": points[None, None], "point_labels": labels[None, None]},
                )
            session.obj_with_new_inputs = list(range(1, objects + 1))
        with _as_published(network):
            found = model(session, frame=pixels) if index else model(session, frame_idx=0)
        masks = F.interpolate(found.pred_masks.float(), size=(HEIGHT, WIDTH), mode="bilinear")
        yield (masks > 0).cpu()


def _as_published(network: Sam2Network) -> AbstractContextManager[object]:
    """On a GPU both are run in bfloat16, as their documentation does."""
    if network.device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()
