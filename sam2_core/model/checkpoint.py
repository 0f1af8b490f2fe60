"""Reading checkpoints: Meta's `.pt` files and our `.safetensors`, strictly."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .config import CONFIGS, Sam2Config
from .network import Sam2Network

BUNDLED_WEIGHTS = Path(__file__).parent.parent / "weights"
"""Where the weights that come with the package lie: one `<model name>.safetensors` each."""

_SHOWN = 5
"""Keys that an error message lists at most."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file and the reason."""


def read_state(path: Path) -> dict[str, Tensor]:
    """Reads the tensors of a `.pt` or `.safetensors` file, without running any code in it.

    Raises:
        CheckpointError: there is no such file, it is damaged, or it holds more than tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path}: there is no such file")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"checkpoint {path}: not a readable safetensors file ({error})") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own message recommends loading the file without the guard; ours must not.
        raise CheckpointError(
            f"checkpoint {path}: damaged, or holds objects other than tensors, which are never loaded"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else "the file ends early"
        raise CheckpointError(f"checkpoint {path}: not a readable PyTorch file ({reason})") from error
    state = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"checkpoint {path}: holds no state dict; allowed: {{'model': state_dict}}")
    return dict(state)


def recognise(state: Mapping[str, Tensor]) -> Sam2Config | None:
    """The configuration of a state dict, judged by its encoder and generation; None if unknown."""
    patch = state.get("image_encoder.trunk.patch_embed.proj.weight")
    if patch is None:
        return None
    blocks = {key.split(".")[3] for key in state if key.startswith("image_encoder.trunk.blocks.")}
    generation = "2.1" if "no_obj_embed_spatial" in state else "2.0"
    for config in CONFIGS.values():
        facts = (config.hiera.width, sum(config.hiera.depths), config.generation)
        if facts == (patch.shape[0], len(blocks), generation):
            return config
    return None


def load_state(network: Sam2Network, state: Mapping[str, Tensor], source: str) -> None:
    """Copies a state dict into a network, converting half precision to the network's own.

    Raises:
        CheckpointError: a key is missing, unexpected or of another shape; the message names it.
    """
    expected = network.state_dict()
    problems = {
        "missing": sorted(expected.keys() - state.keys()),
        "unexpected": sorted(state.keys() - expected.keys()),
        "of another shape": [
            f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
            for key in sorted(expected.keys() & state.keys())
            if state[key].shape != expected[key].shape
        ],
    }
    told = [
        f"{len(keys)} keys {kind}: {', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''}"
        for kind, keys in problems.items()
        if keys
    ]
    if told:
        raise CheckpointError(f"checkpoint {source} is not of model {network.config.name}: {'; '.join(told)}")
    network.load_state_dict(dict(state))


def load_network(model: str = "", checkpoint: str | Path = "", image_size: int | None = None) -> Sam2Network:
    """Builds a network ready for inference (eval mode, no gradients, float32, on the CPU).

    Args:
        model: a name in `CONFIGS`; empty: recognised from the checkpoint, or `sam2_pico` without one.
        checkpoint: a `.pt` or `.safetensors` file; empty: the weights bundled under the model's name.
        image_size: S in pixels, a multiple of 32, where it should differ from what the model was trained at.

    Raises:
        CheckpointError: the model is unknown, or the checkpoint is missing, damaged or of another model.
    """
    if model and model not in CONFIGS:
        raise CheckpointError(f"model {model!r} is unknown; allowed: {', '.join(CONFIGS)}")
    if checkpoint:
        path = Path(checkpoint).expanduser()
    else:
        path = BUNDLED_WEIGHTS / f"{model or 'sam2_pico'}.safetensors"
        if not path.is_file():
            raise CheckpointError(f"model {model!r} comes without weights: give its checkpoint file")
    state = read_state(path)
    config = CONFIGS[model] if model else recognise(state)
    if config is None:
        raise CheckpointError(f"checkpoint {path} is of no known model; allowed: {', '.join(CONFIGS)}")
    if image_size is not None:
        if image_size <= 0 or image_size % 32:
            raise CheckpointError(f"image_size {image_size} is not allowed: a positive multiple of 32 is")
        config = replace(config, image_size=image_size)
    network = Sam2Network(config)
    load_state(network, state, str(path))
    return network.eval().requires_grad_(False)
