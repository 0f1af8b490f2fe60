"""From a checkpoint to a network that is ready for inference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .checkpoint import Checkpoint, CheckpointError, read_checkpoint
from .config import CONFIGS
from .image_network import ImageNetwork
from .network import Sam2Network

BUNDLED_WEIGHTS = Path(__file__).parent.parent / "weights"
"""Where the weights that come with the package lie: one `<model name>.safetensors` each."""


def load_network(model: str = "", checkpoint: str | Path = "", image_size: int | None = None) -> Sam2Network:
    """Builds a network ready for inference (eval mode, no gradients, float32, on the CPU).

    Args:
        model: a name in `CONFIGS`; empty: recognised from the checkpoint, or `sam2_pico` without one.
        checkpoint: Meta's `.pt`, a `.safetensors` file, or a folder of Hugging Face's with config.json and
            model.safetensors; empty: the weights bundled under the model's name.
        image_size: S in pixels, a multiple of 32, where it should differ from what the model was trained at.

    Raises:
        CheckpointError: the model is unknown, or the checkpoint is missing, damaged, of another model, or
            holds the image half only.
    """
    found = _find(model, checkpoint, image_size)
    if found.images_only:
        raise CheckpointError(
            f"checkpoint {found.path} holds the image half of {found.config.name} only, no memory: "
            "images can be segmented with it (load_image_network), videos cannot be tracked"
        )
    network = Sam2Network(found.config)
    network.load_state_dict(found.state)
    return network.eval().requires_grad_(False)


def load_image_network(
    model: str = "", checkpoint: str | Path = "", image_size: int | None = None
) -> ImageNetwork:
    """`load_network` for images alone, for which a checkpoint of the image half is enough.

    The arguments and errors are the same. From a whole checkpoint it gives the whole network.
    """
    found = _find(model, checkpoint, image_size)
    network = (ImageNetwork if found.images_only else Sam2Network)(found.config)
    network.load_state_dict(found.state)
    return network.eval().requires_grad_(False)


def find_checkpoint(model: str = "", checkpoint: str | Path = "") -> Checkpoint:
    """The checkpoint that `load_network` would load; the arguments and errors are the same."""
    if model and model not in CONFIGS:
        raise CheckpointError(f"model {model!r} is unknown; allowed: {', '.join(CONFIGS)}")
    if checkpoint:
        return read_checkpoint(Path(checkpoint).expanduser(), model)
    path = BUNDLED_WEIGHTS / f"{model or 'sam2_pico'}.safetensors"
    if not path.is_file():
        raise CheckpointError(f"model {model!r} comes without weights: give its checkpoint file")
    return read_checkpoint(path, model)


def _find(model: str, checkpoint: str | Path, image_size: int | None) -> Checkpoint:
    found = find_checkpoint(model, checkpoint)
    if image_size is None:
        return found
    if image_size <= 0 or image_size % 32:
        raise CheckpointError(f"image_size {image_size} is not allowed: a positive multiple of 32 is")
    return replace(found, config=replace(found.config, image_size=image_size))
