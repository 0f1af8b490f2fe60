"""Checkpoint files of SAM 2: which kind they are, what they hold, and writing them.

Kinds: Meta's `.pt` (`{'model': state_dict}`), Hugging Face's `safetensors` (a folder with config.json, or the
file alone), and `.safetensors` with Meta's names, as the bundled weights. The kind shows in the keys.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..files import replacing
from .config import CONFIGS, Sam2Config
from .huggingface import describe, from_hugging_face, is_hugging_face, read_image_size, to_hugging_face

_SHOWN = 5
"""Keys that an error message lists at most."""
_WEIGHTS, _CONFIG = "model.safetensors", "config.json"
_SIZES = ("image_size", "backbone_feature_sizes", "memory_attention_rope_feat_sizes")
"""Entries of config.json that say at which size the model runs, not which model it is."""
_TRANSFORMERS_MEMORY_DIM = 64
"""The only Cm that transformers' memory attention can have."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds."""

    path: Path
    kind: str
    """In words, for people."""
    config: Sam2Config
    """Of the model that it is, at the image size that the file asks for."""
    state: dict[str, Tensor]
    """Under Meta's names, which are `Sam2Network`'s."""
    images_only: bool
    """Whether it holds the image half only, as Hugging Face's `Sam2Model` does: nothing can be tracked."""

    @property
    def parameters(self) -> int:
        """How many weights it has; the fixed frequencies of the point encoding are none."""
        return sum(value.numel() for key, value in self.state.items() if "gaussian" not in key)

    @property
    def fingerprint(self) -> str:
        """The same in every kind of file (`state_fingerprint`)."""
        return state_fingerprint(self.state)


def state_fingerprint(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of weights, in order of name."""
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].cpu().contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_checkpoint(path: Path, model: str = "") -> Checkpoint:
    """Reads a checkpoint of any kind, without running any code in it; `check_state` says whether it is whole.

    Args:
        path: the file, or a folder with config.json and model.safetensors.
        model: a name in `CONFIGS` that it must be of; empty: recognised from its keys.

    Raises:
        CheckpointError: it is missing, damaged, holds more than tensors, is of no known model, or asks for an
            image size that there cannot be.
    """
    settings = _read_config(path) if path.is_dir() else {}
    state = _read_tensors(path / _WEIGHTS if path.is_dir() else path)
    hugging_face = is_hugging_face(state)
    if hugging_face:
        state = from_hugging_face(state)
    images_only = not any(key.startswith("memory_") for key in state)
    config = CONFIGS[model] if model else _recognise(state)
    if config is None:
        raise CheckpointError(f"checkpoint {path} is of no known model; allowed: {', '.join(CONFIGS)}")
    _check_settings(settings, describe(config, images_only), path, config.name)
    if (size := read_image_size(settings)) is not None:
        config = at_size(config, size, f"checkpoint {path}: {_CONFIG}: ")
    if hugging_face:
        kind = f"Hugging Face safetensors ({'Sam2Model' if images_only else 'Sam2VideoModel'})"
    else:
        kind = "safetensors with Meta's names" if path.suffix == ".safetensors" else "Meta .pt"
    return Checkpoint(path, kind, config, state, images_only)


def at_size(config: Sam2Config, size: object, where: str = "") -> Sam2Config:
    """A configuration at image size S [px].

    Raises:
        CheckpointError: it is no positive multiple of 32; the message begins with `where`.
    """
    if not isinstance(size, int) or size <= 0 or size % 32:
        raise CheckpointError(f"{where}image_size {size!r} is not allowed: a positive multiple of 32 is")
    return replace(config, image_size=size)


def check_state(checkpoint: Checkpoint, expected: Mapping[str, Tensor]) -> None:
    """Compares a checkpoint with the state dict of the network that it is meant for.

    Raises:
        CheckpointError: keys are missing, unexpected or of another shape; the message names them.
    """
    state = checkpoint.state
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
        raise CheckpointError(
            f"checkpoint {checkpoint.path} is not of model {checkpoint.config.name}: {'; '.join(told)}"
        )


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a checkpoint: as Meta's `.pt`, as Hugging Face's `.safetensors`, or as its folder.

    A file that was there before is replaced only when the new one is complete.

    Raises:
        CheckpointError: the layout cannot hold this model, or the file cannot be written.
    """
    config, name = checkpoint.config, checkpoint.config.name
    try:
        if path.suffix == ".pt":
            if checkpoint.images_only:
                raise CheckpointError(
                    f"{path}: {checkpoint.path} holds the image half of {name}; a .pt holds all of it"
                )
            packed = io.BytesIO()
            # Straight to a full disk it would fail with another error than OSError.
            torch.save({"model": checkpoint.state}, packed)
            with replacing(path) as part:
                part.write_bytes(packed.getbuffer())
            return
        # A folder's name may hold a dot too, as "sam2.1-hiera-tiny" does.
        folder = not path.suffix[1:].isalpha()
        if not folder and path.suffix != ".safetensors":
            raise CheckpointError(f"{path}: allowed: a name in .pt or .safetensors, or a folder's")
        if not checkpoint.images_only and config.memory_dim != _TRANSFORMERS_MEMORY_DIM:
            raise CheckpointError(
                f"{path}: {name} has memories of {config.memory_dim} channels; "
                f"Hugging Face's layout allows {_TRANSFORMERS_MEMORY_DIM}"
            )
        tensors = {key: value.contiguous() for key, value in to_hugging_face(checkpoint.state).items()}
        weights = path
        if folder:
            path.mkdir(parents=True, exist_ok=True)
            weights = path / _WEIGHTS
            text = json.dumps(describe(config, checkpoint.images_only), indent=2) + "\n"
            with replacing(path / _CONFIG) as part:
                part.write_text(text)
        with replacing(weights) as part:
            save_file(tensors, part, metadata={"format": "pt"})
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint {path} cannot be written: {error}") from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
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
    except Exception as error:  # whatever a damaged file makes the unpickler raise
        reason = str(error).splitlines()[0] if str(error) else "the file ends early"
        raise CheckpointError(f"checkpoint {path}: not a readable PyTorch file ({reason})") from error
    state = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"checkpoint {path}: holds no state dict; allowed: {{'model': state_dict}}")
    return dict(state)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / _CONFIG
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {folder}: {_CONFIG} cannot be read ({error}); "
            f"allowed: a folder with {_CONFIG} and {_WEIGHTS}"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"checkpoint {folder}: {_CONFIG} is no JSON object")
    return content


def _recognise(state: Mapping[str, Tensor]) -> Sam2Config | None:
    """The configuration of a state dict, judged by its encoder and generation; None if unknown."""
    patch = state.get("image_encoder.trunk.patch_embed.proj.weight")
    if patch is None:
        return None
    blocks = {key.split(".")[3] for key in state if key.startswith("image_encoder.trunk.blocks.")}
    # The image halves of both generations are the same network.
    generation = "2.0" if "no_obj_ptr" in state and "no_obj_embed_spatial" not in state else "2.1"
    for config in CONFIGS.values():
        facts = (config.hiera.width, sum(config.hiera.depths), config.generation)
        if facts == (patch.shape[0], len(blocks), generation):
            return config
    return None


def _check_settings(found: Mapping[str, Any], expected: Mapping[str, Any], path: Path, name: str) -> None:
    """What a config.json says must be so in the model, where it says it; weights alone do not tell all."""
    for key, value in expected.items():
        if key not in found or key in (*_SIZES, "model_type", "architectures"):
            continue
        if isinstance(value, dict) and isinstance(found[key], dict):
            _check_settings(found[key], value, path, name)
        elif found[key] != value:
            raise CheckpointError(
                f"checkpoint {path} is not of model {name}: {_CONFIG} has {key} {found[key]}, not {value}"
            )
