"""From a checkpoint to a network that is ready for inference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from .checkpoint import Checkpoint, CheckpointError, at_size, check_state, read_checkpoint
from .config import CONFIGS
from .image_network import ImageNetwork
from .network import Sam2Network
from .precision import choose_precision

_Network = TypeVar("_Network", bound=ImageNetwork)

BUNDLED_WEIGHTS = Path(__file__).parent.parent / "weights"
"""Where the weights that come with the package lie: one `<model name>.safetensors` each."""


def load_network(
    model: str = "",
    checkpoint: str | Path = "",
    image_size: int | None = None,
    precision: str = "float32",
    device: str = "cpu",
) -> Sam2Network:
    """Builds a network ready for inference (eval mode, no gradients).

    Args:
        model: a name in `CONFIGS`; empty: recognised from the checkpoint, or `sam2_pico` without one.
        checkpoint: Meta's `.pt`, a `.safetensors` file, or a folder of Hugging Face's with config.json and
            model.safetensors; empty: the weights bundled under the model's name.
        image_size: S in pixels, a multiple of 32, where it should differ from what the model was trained at.
        precision: one of `PRECISIONS`; in bfloat16 the heavy stages are (`ImageNetwork.reduce_precision`).
        device: where it runs, as torch names it. On a GPU, cuDNN's TF32 is turned off for the process, since
            convolutions in float32 would multiply with its ten bits.

    Raises:
        CheckpointError: the model is unknown, or the checkpoint is missing, damaged, of another model, or
            holds the image half only.
        ValueError: the precision is unknown.
    """
    found = _find(model, checkpoint, image_size)
    if found.images_only:
        raise CheckpointError(
            f"checkpoint {found.path} holds the image half of {found.config.name} only, no memory: "
            "images can be segmented with it (load_image_network), videos cannot be tracked"
        )
    return _filled(Sam2Network(found.config), found, precision, device)


def load_image_network(
    model: str = "",
    checkpoint: str | Path = "",
    image_size: int | None = None,
    precision: str = "float32",
    device: str = "cpu",
) -> ImageNetwork:
    """`load_network` for images alone, for which a checkpoint of the image half is enough.

    The arguments and errors are the same. From a whole checkpoint it gives the whole network.
    """
    found = _find(model, checkpoint, image_size)
    return _filled(
        (ImageNetwork if found.images_only else Sam2Network)(found.config), found, precision, device
    )


def find_checkpoint(model: str = "", checkpoint: str | Path = "") -> Checkpoint:
    """The checkpoint that `load_image_network` would load, whole; the arguments and errors are the same."""
    found = _find(model, checkpoint, None)
    check_state(found, (ImageNetwork if found.images_only else Sam2Network)(found.config).state_dict())
    return found


def _find(model: str, checkpoint: str | Path, image_size: int | None) -> Checkpoint:
    if model and model not in CONFIGS:
        raise CheckpointError(f"model {model!r} is unknown; allowed: {', '.join(CONFIGS)}")
    path = Path(checkpoint).expanduser()
    if not checkpoint:
        path = BUNDLED_WEIGHTS / f"{model or 'sam2_pico'}.safetensors"
        if not path.is_file():
            raise CheckpointError(f"model {model!r} comes without weights: give its checkpoint file")
    found = read_checkpoint(path, model)
    if image_size is None:
        return found
    return replace(found, config=at_size(found.config, image_size))


def _filled(network: _Network, checkpoint: Checkpoint, precision: str, device: str) -> _Network:
    """The network with a checkpoint's weights, ready for inference."""
    check_state(checkpoint, network.state_dict())
    network.load_state_dict(checkpoint.state)
    if choose_precision(precision, checkpoint.config, device) == "bfloat16":
        network.reduce_precision()
    if torch.device(device).type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    return network.eval().requires_grad_(False).to(device)
