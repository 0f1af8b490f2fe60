"""One thread: rounding is then the same on every machine, and tests beside each other do not fight."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sam2_core.backends.self_check import SelfCheck
from sam2_core.model import Sam2Network, load_network
from sam2_core.tracking.rehearsal import rehearse

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def engine_network() -> Sam2Network:
    """The bundled model at a small size: what the tests of engines run."""
    return load_network("sam2_pico", image_size=64)


@pytest.fixture(scope="session")
def engine_graphs(engine_network: Sam2Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the graphs of `engine_stand_in.BUCKETS`, `<bucket's name>.onnx`."""
    from engine_stand_in import BUCKETS

    from sam2_core.backends.export import export_stages

    folder = tmp_path_factory.mktemp("graphs")
    export_stages(engine_network, "test", folder, "fp32", BUCKETS)
    return folder


@pytest.fixture(scope="session")
def engine_check(engine_network: Sam2Network) -> SelfCheck:
    """Compares programs with that model."""
    from engine_stand_in import BUCKETS

    return SelfCheck(engine_network, BUCKETS, rehearse)
