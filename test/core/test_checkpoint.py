"""Checkpoint files as Meta publishes them: loaded as they are, and refused by name of what is wrong."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import official
import pytest
import torch
from random_weights import random_network
from torch import Tensor

from sam2_core.model import CONFIGS, CheckpointError, load_network

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """The weights of our smallest model, under the names that Meta's files have."""
    return random_network("sam2_pico", 256).state_dict()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.pt"


@pytest.mark.parametrize("name", ["sam2.1_hiera_tiny", "sam2_hiera_tiny"])
def test_an_official_file_is_recognised_and_loaded_as_it_is(name: str, path: Path) -> None:
    state = official.build(name, 1024, video=False).state_dict()
    torch.save({"model": state}, path)
    network = load_network(checkpoint=path)
    assert network.config == CONFIGS[name]
    loaded = network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_model_may_run_at_another_image_size(state: State, path: Path) -> None:
    torch.save({"model": state}, path)
    assert load_network(checkpoint=path, image_size=128).config.embedding_size == 8
    for size in (0, -32, 250):
        with pytest.raises(CheckpointError, match=f"image_size {size} is not allowed"):
            load_network(checkpoint=path, image_size=size)


def without(key: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if name != key}


@pytest.mark.parametrize(
    ("model", "change", "said"),
    [
        ("", without("no_obj_ptr"), "1 keys missing: no_obj_ptr"),
        ("", lambda state: state | {"extra.weight": torch.ones(1)}, "1 keys unexpected: extra.weight"),
        (
            "",
            lambda state: state | {"no_mem_embed": torch.ones(1, 1, 8)},
            r"no_mem_embed \(1, 1, 8\) instead of \(1, 1, 128\)",
        ),
        ("sam2.1_hiera_small", dict, "is not of model sam2.1_hiera_small: .* keys missing"),
        ("sam2_hiera_tiny", dict, "unexpected: .*no_obj_embed_spatial"),
        (
            "",
            lambda state: {"some.weight": torch.ones(1)},
            "is of no known model; allowed: .*sam2.1_hiera_tiny",
        ),
    ],
    ids=["missing", "unexpected", "misshapen", "another size", "another generation", "another network"],
)
def test_keys_that_do_not_fit_are_named(
    state: State, path: Path, model: str, change: Callable[[State], State], said: str
) -> None:
    torch.save({"model": change(state)}, path)
    with pytest.raises(CheckpointError, match=said) as refused:
        load_network(model, path)
    assert str(path) in str(refused.value)


class Malicious:
    """Would create a file when unpickled."""

    def __init__(self, victim: Path) -> None:
        self._victim = victim

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self._victim,)


def test_a_malicious_pickle_is_refused_and_not_run(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    for save in (torch.save, lambda content, file: file.write_bytes(pickle.dumps(content))):
        save({"model": Malicious(victim)}, path)
        with pytest.raises(CheckpointError, match="other than tensors, which are never loaded") as refused:
            load_network(checkpoint=path)
        assert "weights_only" not in str(refused.value)
    assert not victim.exists()


@pytest.mark.parametrize("kept", [0, 1, 1000, -1000])
def test_a_truncated_file_is_refused(path: Path, kept: int) -> None:
    torch.save({"model": {"weight": torch.ones(100, 100)}}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=str(path)):
        load_network(checkpoint=path)


def test_a_truncated_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(CheckpointError, match=str(path)):
        load_network(checkpoint=path)


@pytest.mark.parametrize("content", [[], 3, {"model": 3}, {"model": {"a": "text"}}, {"optimizer": {}}])
def test_a_file_without_a_state_dict_is_refused(path: Path, content: object) -> None:
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=str(path)):
        load_network(checkpoint=path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{tmp_path}/none.pt: there is no such file"):
        load_network(checkpoint=tmp_path / "none.pt")


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match=r"model 'sam3' is unknown; allowed: .*sam2_pico"):
        load_network("sam3")


def test_a_model_without_bundled_weights_asks_for_its_file() -> None:
    with pytest.raises(CheckpointError, match=r"'sam2\.1_hiera_large' comes without weights"):
        load_network("sam2.1_hiera_large")
