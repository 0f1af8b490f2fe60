"""What a training file may say, and what is told where it says something else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from sam2_core.model import CONFIGS, Sam2Network
from sam2_core.tools.train import main
from sam2_core.training.affinity import AffinityHead
from sam2_core.training.config import ConfigError, load_config
from sam2_core.training.optimizers import Optimizers, layer_rate

CONFIGURATIONS = Path(__file__).parents[2] / "sam2_core" / "training" / "configs"
DATA = {"model": "sam2_pico", "data": [{"path": "videos"}]}


@pytest.mark.parametrize("path", sorted(CONFIGURATIONS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_configurations_are_valid(path: Path) -> None:
    config = load_config(path)
    assert config.model in CONFIGS
    top = config.learning_rate(config.warmup_steps)
    assert config.learning_rate(0) < top
    assert config.learning_rate(config.steps - 1) < 0.11 * top


def test_three_lines_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "short.yaml"
    bundled = Path(__file__).parents[2] / "sam2_core" / "weights" / "sam2_pico.safetensors"
    path.write_text(f"weights: {bundled}\ndata: [{{path: videos}}]\nstages: [{{steps: 20}}]\n")
    config = load_config(path)
    assert (config.model, config.steps) == ("sam2_pico", 20)
    assert config.stages[0].batches[0].image_size == CONFIGS["sam2_pico"].image_size
    assert config.stages[0].batches[0].prompts == {"mask": 0.5, "click": 0.25, "box": 0.25}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"learning_rat": 1}, "learning_rat is unknown"),
        ({"stages": [{"learning_rate": "fast"}]}, "learning_rate is 'fast'; allowed: a number"),
        ({"stages": [{"batches": [{"frames": 1.5}]}]}, "frames is 1.5; allowed: a whole number"),
        ({"stages": [{"batches": [{"prompts": {"scribble": 1.0}}]}]}, "got scribble"),
        ({"stages": [{"batches": [{"prompts": {"click": 0.5}}]}]}, "probabilities, 0 or more, that sum to 1"),
        ({"stages": [{"batches": [{"frames": 1, "prompts": {"mask": 1.0}}]}]}, "nothing left to predict"),
        ({"stages": [{"batches": [{"image_size": 100}]}]}, "a multiple of 32"),
        ({"data": []}, "data is empty"),
        (
            {"data": [{"rendered": "cartoons"}]},
            "rendered is 'cartoons'; allowed: procedural, plain, tabletop",
        ),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'; allowed: adamw, muon"),
        ({"optimizer": "muon"}, "must be 1 with optimizer muon"),
        ({"model": "sam3"}, "model is 'sam3'"),
        ({"drop_path": 1}, "drop_path is 1.0; allowed: 0 to below 1"),
        ({"dropout": 1.5}, "dropout is 1.5; allowed: 0 to below 1"),
        ({"stages": [{"batches": [{"prompted_frames": 0}]}]}, "prompted_frames is 0; allowed: 1 or more"),
        ({"mosaics": -0.1}, "mosaics is -0.1; allowed: 0 to below 1"),
        ({"gradient_clip": -0.1}, "gradient_clip is -0.1; allowed: above 0"),
        ({"gradient_clip": math.nan}, "gradient_clip is nan; allowed: above 0"),
        ({"ema_decay": 1}, "ema_decay is 1.0; allowed: 0 to below 1"),
        ({"weight_decay": -1}, "weight_decay is -1.0; allowed: 0 or more"),
        ({"focal_alpha": -3}, "focal_alpha is -3.0; allowed: 0 to 1"),
        ({"encoder_rate": -1}, "encoder_rate is -1.0; allowed: 0 to 1"),
        ({"layer_decay": 0}, "layer_decay is 0.0; allowed: above 0, at most 1"),
        ({"seed": -1}, "seed is -1; allowed: 0 or more"),
        ({"warmup_steps": -5}, "warmup_steps is -5; allowed: 0 or more"),
        ({"validation_clips": -3}, "validation_clips is -3; allowed: 0 or more"),
        ({"stages": [{"affinity": -1}]}, "affinity is -1.0; allowed: 0 or more"),
        ({"stages": [{"batches": [{"prompts": {"click": 1.5, "box": -0.5}}]}]}, "probabilities, 0 or more"),
        ({"checkpointing": "often"}, "checkpointing is 'often'; allowed: true or false"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(None, DATA | changed)


def test_a_number_that_yaml_takes_for_a_text_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "rate.yaml"
    path.write_text("model: sam2_pico\ndata: [{path: videos}]\nstages: [{learning_rate: 5e-6}]\n")
    assert load_config(path).stages[0].learning_rate == 5e-6


def test_the_schedules() -> None:
    stages = [{"steps": 100, "learning_rate": 1.0}]
    cosine = load_config(None, DATA | {"stages": stages, "warmup_steps": 10})
    assert cosine.learning_rate(4) == pytest.approx(0.5, rel=0.01)
    assert cosine.learning_rate(50) == pytest.approx(0.1 + 0.9 / 2)
    linear = load_config(None, DATA | {"stages": stages, "schedule": "linear", "decay_steps": 20})
    assert linear.learning_rate(60) == 1.0
    assert linear.learning_rate(90) == pytest.approx(0.5)
    given = {"stages": stages, "schedule": "rsqrt", "warmup_steps": 10, "decay_steps": 20}
    rsqrt = load_config(None, DATA | given)
    assert [rsqrt.learning_rate(step) for step in (4, 9, 39)] == pytest.approx([0.5, 1.0, 0.5])
    assert rsqrt.learning_rate(90) == pytest.approx(0.5 * math.sqrt(10 / 91))


def test_earlier_layers_learn_slower_and_norms_do_not_decay() -> None:
    config = load_config(None, DATA)
    network = Sam2Network(CONFIGS["sam2_pico"])
    blocks = len(network.image_encoder.trunk.blocks)
    trunk = "image_encoder.trunk."
    first, last = (layer_rate(f"{trunk}blocks.{i}.attn.qkv.weight", network, config) for i in (0, blocks - 1))
    assert last == pytest.approx(0.6 * 0.9)
    assert math.isclose(first / last, 0.9 ** (blocks - 1))
    assert layer_rate(f"{trunk}patch_embed.proj.weight", network, config) == pytest.approx(0.9 * first)
    assert layer_rate(f"{trunk}pos_embed", network, config) == 0.6
    assert layer_rate("sam_mask_decoder.iou_token.weight", network, config) == 1.0

    optimizers = Optimizers(network, AffinityHead(network.config), config)
    groups = optimizers.named["adamw"].param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert len(decay) == len({*network.parameters()}) + len([*AffinityHead(network.config).parameters()])
    block = network.image_encoder.trunk.blocks[0]
    assert decay[id(block.attn.qkv.weight)] == 0.1
    assert decay[id(block.attn.qkv.bias)] == decay[id(block.norm1.weight)] == 0.0

    before = {name: value.clone() for name, value in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizers.step(1e-3)
    moved = (block.norm1.bias - before[f"{trunk}blocks.0.norm1.bias"]).abs().mean().item()
    assert moved == pytest.approx(1e-3 * first, rel=1e-3)


def test_the_command_line_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit):
        main(["--finetune", "x.pt", *out])
    assert "--data" in capsys.readouterr().err
    assert main(["--finetune", str(tmp_path / "x.pt"), "--data", str(tmp_path), *out]) == 1
    assert "x.pt: there is no such file" in capsys.readouterr().err
    assert main(["--config", str(tmp_path / "none.yaml"), *out]) == 1
    assert "none.yaml" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
