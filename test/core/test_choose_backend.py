"""The backend that a user asks for, or the fastest; what does not work gives way, and says why."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from engine_stand_in import StandInBuilder

from sam2_core import backends
from sam2_core.backends import BackendOptions, choose, load_backend, tensorrt_backend
from sam2_core.backends.programs import Bucket
from sam2_core.backends.staged import StagedBackend
from sam2_core.files import cache_folder
from sam2_core.model import Sam2Network
from sam2_core.tracking.rehearsal import rehearse

SIZE = 64


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _few_graphs(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the tests' own, and no more graphs than they need."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    buckets = [Bucket("encode_image"), Bucket("encode_memory")]
    monkeypatch.setattr(choose, "cpu_buckets", lambda config: buckets)


def load(**options: object) -> choose.LoadedBackend:
    return load_backend(BackendOptions(image_size=SIZE, **options))  # type: ignore[arg-type]


def test_torch_is_there_always() -> None:
    loaded = load(backend="torch")
    assert isinstance(loaded.backend, Sam2Network)
    assert loaded.name.startswith("torch ")
    assert loaded.reason == "asked for"
    assert set(loaded.stages.values()) == {"torch"}


def test_pytorchs_compiler_is_not_loaded_before_it_compiles() -> None:
    # It would add two seconds to the start of every program, and 70 MB to what it occupies.
    code = "import sys, sam2_core.tools.video, sam2_core.tools.train; print('torch._dynamo' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_auto_does_not_wait_unless_it_may(cache: Path) -> None:
    loaded = load_backend(BackendOptions(image_size=96))
    assert loaded.backend is loaded.network
    assert "onnxruntime is not used: its graphs are not there yet" in loaded.reason


def test_onnxruntime_exports_once_and_auto_takes_it_from_then_on() -> None:
    told: list[str] = []
    loaded = load_backend(BackendOptions(backend="onnxruntime", image_size=SIZE), told.append)
    assert isinstance(loaded.backend, StagedBackend)
    assert loaded.name.startswith("ONNX Runtime ")
    assert loaded.reason == "asked for"
    assert told[0].startswith("exporting 2 graphs")
    assert told[-1].endswith("(2 of 2)")

    told.clear()
    loaded = load_backend(BackendOptions(image_size=SIZE), told.append)
    assert isinstance(loaded.backend, StagedBackend)
    assert loaded.reason == "the fastest on cpu"
    assert not told
    assert "ONNX Runtime" in loaded.stages["encode_image"]
    assert loaded.stages["attend_memory"] == "torch"

    # A damaged file in the cache is exported anew.
    graph = next(cache_folder("stages").glob(f"*/{Bucket('encode_image').name}.onnx"))
    graph.write_bytes(b"damaged")
    assert "not there yet" in load().reason


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"backend": "tensorrt"}, "tensorrt is not used: "),
        ({"backend": "onnxruntime", "exported": "/nowhere"}, "/nowhere/manifest.json: there is no such file"),
        (
            {"backend": "onnxruntime", "precision": "bfloat16"},
            "torch computes in bfloat16, ONNX Runtime's graphs in float32",
        ),
        ({"backend": "onnxruntime", "provider": "cuda"}, "the provider cuda does not work on the device cpu"),
    ],
)
def test_what_does_not_work_gives_way_and_says_why(options: dict[str, str], reason: str) -> None:
    loaded = load(**options)
    assert loaded.backend is loaded.network or options["backend"] == "tensorrt"
    assert reason in loaded.reason


@pytest.mark.parametrize("missing", ["onnxruntime", "onnxscript"])
def test_what_is_not_installed_gives_way(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("sam2_core.backends.")]:
        if name.rsplit(".", 1)[1] in ("onnxruntime_programs", "export", "export_cache"):
            monkeypatch.delitem(sys.modules, name)
            monkeypatch.delattr(backends, name.rsplit(".", 1)[1], raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    loaded = load(backend="onnxruntime")
    assert loaded.backend is loaded.network
    assert missing in loaded.reason
    assert "pip install" in loaded.reason


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(
        ValueError, match="backend 'fast' is unknown; allowed: auto, torch, onnxruntime, tensorrt"
    ):
        BackendOptions(backend="fast")


def test_tensorrt_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    loaded = load_backend(BackendOptions(backend="tensorrt", image_size=SIZE), rehearse=rehearse)
    assert "tensorrt is not used: PyTorch finds no NVIDIA GPU" in loaded.reason
    assert loaded.proof == {}
    # Engines that cannot be checked are not used.
    assert "cannot be checked" in load(backend="tensorrt").reason


def test_what_tensorrt_proved_is_told(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    builder = StandInBuilder()
    monkeypatch.setattr(tensorrt_backend, "open_tensorrt", lambda device, options: builder)
    monkeypatch.setattr(tensorrt_backend, "long_history", lambda config: Bucket("encode_image"))
    options = BackendOptions(backend="tensorrt", image_size=SIZE, precision="float32", engine_objects=(2,))
    refused = load_backend(options, rehearse=rehearse)
    assert "engines for this model and GPU are not there yet" in refused.reason
    assert builder.built == []

    told: list[str] = []
    loaded = load_backend(replace(options, may_export=True), told.append, rehearse)
    assert loaded.name == "TensorRT 10.3.0 (5 in fp32, 0 in torch)"
    assert loaded.reason == "asked for"
    assert {precision for _, precision in builder.built} == {"fp32"}
    assert any("engines are to be built" in line for line in told)
    assert "tracks the reference clip as float32 does" in loaded.proof["engines"]
    assert loaded.proof["engine encode_image"].startswith("fp32, off by")
    assert all("TensorRT" in executor for executor in loaded.stages.values())

    # From now on it is there.
    before = len(builder.built)
    assert load_backend(options, rehearse=rehearse).name == loaded.name
    assert len(builder.built) == before
