"""The official implementation as oracle: PyPI `sam2` 1.1.0, given the same weights as our network."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scenario import PROMPTS, Given, Step, Track
from tqdm import tqdm

from sam2_core.model import Sam2Network
from sam2_core.model.preprocess import preprocess
from sam2_core.tracking import MaskPrompt

_SIZES = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}
_ENDLESS = 1_000_000
"""Frames of a video so long that its pointers' times are encoded as a stream's are."""


@cache
def declare_torchvision_operators() -> torch.library.Library | None:
    """torchvision's wheel may be for another torch; with these schemas declared it imports beside ours."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:  # its own operators are not there; where they are, others of their names crash
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None


def build(name: str, image_size: int, video: bool = True, device: str = "cpu", compiled: bool = False) -> Any:
    """The official video predictor of one of our configurations, or its plain model, without weights.

    compiled: the video predictor's form for speed, `vos_optimized`, which wants a GPU.
    """
    declare_torchvision_operators()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sam2 import sam2_video_predictor
        from sam2.build_sam import build_sam2, build_sam2_video_predictor
        from sam2.utils import misc

        for module in (sam2_video_predictor, misc):
            module.tqdm = partial(tqdm, disable=True)  # its bars would stand among ours
        version, _, size = name.partition("_hiera_")
        path = f"configs/{version}/{version}_hiera_{_SIZES[size]}.yaml"
        side = image_size // 16
        # The YAML files build the rotary tables for 1024 px.
        overrides = [
            f"++model.image_size={image_size}",
            f"++model.memory_attention.layer.self_attention.feat_sizes=[{side},{side}]",
            f"++model.memory_attention.layer.cross_attention.feat_sizes=[{side},{side}]",
        ]
        if video:
            return build_sam2_video_predictor(
                path, device=device, hydra_overrides_extra=overrides, vos_optimized=compiled
            )
        return build_sam2(path, device=device, hydra_overrides_extra=overrides)


def twin(network: Sam2Network, video: bool = True, compiled: bool = False) -> Any:
    """The official model with a network's configuration and weights, on its device."""
    config, device = network.config, network.device.type
    model = build(config.name, config.image_size, video, device, compiled)
    model.load_state_dict(network.state_dict(), strict=True)
    return model


def image_predictor(network: Sam2Network) -> Any:
    """The official `SAM2ImagePredictor` with a network's configuration and weights."""
    model = twin(network, video=False)
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    predictor = SAM2ImagePredictor(model)
    side = network.config.embedding_size
    # Written for 1024 px.
    predictor._bb_feat_sizes = [(4 * side, 4 * side), (2 * side, 2 * side), (side, side)]
    return predictor


def transforms(image_size: int) -> Any:
    """What the official image predictor does to an image before the network."""
    declare_torchvision_operators()
    from sam2.utils.transforms import SAM2Transforms

    return SAM2Transforms(resolution=image_size, mask_threshold=0)


def track_official(
    network: Sam2Network,
    frames: Sequence[NDArray[np.uint8]],
    prompts: Sequence[Given] = PROMPTS,
    lasting_corrections: bool = False,
) -> Track:
    """Runs the official video predictor over frames in the order in which a stream would bring them."""
    predictor = twin(network)
    predictor.add_all_frames_to_correct_as_cond = lasting_corrections
    with warnings.catch_warnings():
        # Holes are filled by a CUDA extension only; without it, on a CPU, the predictor does not.
        warnings.filterwarnings("ignore", message="[^§]*Skipping the post-processing step")
        state = _start(predictor, frames)
        untracked = 0
        for frame in sorted({given.frame for given in prompts}):
            _propagate(predictor, state, untracked, frame)
            for given in prompts:
                if given.frame == frame:
                    _prompt(predictor, state, given)
            untracked = frame + 1
        _propagate(predictor, state, untracked, len(frames) - 1)
    return {
        (frame, index + 1): Step(
            found["pred_masks"][0, 0],
            float(found["object_score_logits"]),
            found["obj_ptr"][0],
            found["maskmem_features"][0],
        )
        for index, outputs in state["output_dict_per_obj"].items()
        for kind in ("cond_frame_outputs", "non_cond_frame_outputs")
        for frame, found in outputs[kind].items()
    }


def propagation(
    network: Sam2Network,
    frames: Sequence[NDArray[np.uint8]],
    prompts: Sequence[Given],
    compiled: bool = False,
) -> Iterator[object]:
    """The official video predictor's pass over frames after prompts on the first: yields once per frame."""
    predictor = twin(network, compiled=compiled)
    state = _start(predictor, frames)
    for given in prompts:
        _prompt(predictor, state, given)
    passed: Iterator[object] = predictor.propagate_in_video(state, 0, len(frames) - 1)
    return passed


def _start(predictor: Any, frames: Sequence[NDArray[np.uint8]]) -> dict[str, Any]:
    """A state that holds our preprocessed frames (the official loader resizes files with Pillow, bicubic)."""
    with tempfile.TemporaryDirectory() as folder:
        for index, image in enumerate(frames):
            cv2.imwrite(str(Path(folder) / f"{index}.jpg"), image)
        state: dict[str, Any] = predictor.init_state(folder)
    images = [preprocess(image, predictor.image_size) for image in frames]
    state["images"] = torch.stack(images).to(predictor.device)
    state["cached_features"] = {}
    state["num_frames"] = _ENDLESS
    return state


def _prompt(predictor: Any, state: dict[str, Any], given: Given) -> None:
    if isinstance(given.prompt, MaskPrompt):
        predictor.add_new_mask(state, given.frame, given.object_id, given.prompt.mask)
        return
    prompt = given.prompt
    points, labels = (prompt.points, prompt.labels) if len(prompt.points) else (None, None)
    predictor.add_new_points_or_box(
        state, given.frame, given.object_id, points, labels, given.clear_previous, box=prompt.box
    )


def _propagate(predictor: Any, state: dict[str, Any], first: int, last: int) -> None:
    if state["obj_ids"]:
        for _ in predictor.propagate_in_video(state, first, last - first):
            pass
