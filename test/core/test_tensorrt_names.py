"""Every name of TensorRT that the code uses is in the real bindings of all versions that it is meant for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tensorrt_bindings
from tensorrt_names import TensorRTNames

ROOT = Path(__file__).parents[2]
OLDEST, NEWEST = tensorrt_bindings.versions()[0], tensorrt_bindings.versions()[-1]


@pytest.fixture(scope="module")
def bindings() -> Mapping[str, dict[str, Any]]:
    return {version: tensorrt_bindings.describe(version) for version in tensorrt_bindings.versions()}


def findings(source: str, bindings: Mapping[str, dict[str, Any]], version: str) -> list[str]:
    return TensorRTNames(source, bindings[version], list(bindings.values())).findings


def users() -> list[Path]:
    """The files of the project that import tensorrt."""
    folders = ("sam2_core", "sam2_ros", "benchmark", "launch")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in files if "import tensorrt" in path.read_text())


@pytest.mark.parametrize("version", tensorrt_bindings.versions())
def test_the_code_fits_the_bindings(bindings: Mapping[str, dict[str, Any]], version: str) -> None:
    checked: set[str] = set()
    for path in users():
        names = TensorRTNames(path.read_text(), bindings[version], list(bindings.values()))
        assert names.findings == [], f"{path.name} with TensorRT {version}"
        checked |= names.checked
    # That it has followed the code from the first object to the last call.
    assert {
        "Builder.build_serialized_network",
        "IBuilderConfig.set_timing_cache",
        "IExecutionContext.execute_async_v3",
        "IProgressMonitor.step_complete",
        "ParserError.desc",
    } <= checked


CONFIG = "import tensorrt as trt\ndef f(config: trt.IBuilderConfig):\n    "


def test_a_name_that_only_older_versions_have_is_found(bindings: Mapping[str, dict[str, Any]]) -> None:
    source = CONFIG + "config.set_flag(trt.BuilderFlag.FP16)"
    if OLDEST != NEWEST:
        assert findings(source, bindings, OLDEST) == []
    assert findings(source, bindings, NEWEST) == ["line 3: BuilderFlag has no FP16"]


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("config.set_flags(1)", "IBuilderConfig has no set_flags"),
        ("config.set_flag(flags=trt.BuilderFlag.TF32)", "has no argument flags"),
        ("config.set_flag()", "lacks argument flag"),
        ("config.set_flag(trt.BuilderFlag.TF32, 1)", "takes 1 arguments, not 2"),
        ("config.set_flag(trt.MemoryPoolType.WORKSPACE)", "is MemoryPoolType, not BuilderFlag"),
        ("config.progress_monitors = None", "IBuilderConfig has no progress_monitors"),
        ("config.num_optimization_profiles = 1", "cannot be assigned"),
        ("trt.Bilder(trt.Logger())", "tensorrt has no Bilder"),
        ("trt.Builder(trt.Logger(), 1)", "takes 1 arguments, not 2"),
        ("trt.Builder(trt.Logger()).create_networks()", "Builder has no create_networks"),
        (
            "engine = trt.Runtime(trt.Logger()).deserialize_cuda_engine(b'')\n    engine.layers",
            "has no layers",
        ),
        ("cache = config.get_timing_cache()\n    cache.serialise()", "ITimingCache has no serialise"),
        ("unknown = g()\n    unknown.execute_async_v3(1)", "annotate unknown"),
    ],
)
def test_a_mistake_is_found(bindings: Mapping[str, dict[str, Any]], statement: str, finding: str) -> None:
    for version in bindings:
        found = findings(CONFIG + statement, bindings, version)
        assert len(found) == 1
        assert finding in found[0]


def test_mistakes_in_a_subclass_are_found(bindings: Mapping[str, dict[str, Any]]) -> None:
    source = """
import tensorrt as trt
class Monitor(trt.IProgressMonitor):
    def phase_start(self, phase_name, parent_phase, num_steps): ...
    def step_completed(self, phase_name, step): ...
    def phase_finish(self): ...
"""
    assert sorted(findings(source, bindings, NEWEST)) == [
        "line 3: Monitor does not define IProgressMonitor.step_complete",
        "line 6: IProgressMonitor.phase_finish takes ['self', 'phase_name'], not ['self']",
    ]


def test_hasattr_guards_what_some_version_has(bindings: Mapping[str, dict[str, Any]]) -> None:
    guarded = 'if hasattr(trt.BuilderFlag, "{0}"):\n        config.set_flag(trt.BuilderFlag.{0})'
    newer = CONFIG + guarded.format("DISTRIBUTIVE_INDEPENDENCE")
    invented = CONFIG + guarded.format("FASTER")
    for version in bindings:
        assert findings(newer, bindings, version) == []
        assert findings(invented, bindings, version) == ["line 4: BuilderFlag has no FASTER"]
    # Not in the other branch, and not another object.
    otherwise = CONFIG + 'if hasattr(config, "reset"):\n        pass\n    else:\n        config.resets()'
    assert findings(otherwise, bindings, NEWEST) == ["line 6: IBuilderConfig has no resets"]
