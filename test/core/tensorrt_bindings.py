"""The real Python bindings of several versions of TensorRT, to look at without TensorRT and without a GPU.

The bindings' wheels are small. They need TensorRT's libraries only to be loaded: libraries of the same names
in which every function does nothing are enough to look at every class, member and signature.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

_PACKAGE = {10: "tensorrt-cu12-bindings", 11: "tensorrt-cu13-bindings"}
_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
_FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getPluginRegistry",
    "getNvOnnxParserVersion",
    "initLibNvInferPlugins",
    "getInferLibVersion",
)


def versions() -> tuple[str, ...]:
    """JetPack 6's, JetPack 7's and the newest; or what comes nearest and has a wheel for this Python."""
    if sys.version_info < (3, 13):
        return ("10.3.0", "10.13.3.9", "11.4.0.106")
    if sys.version_info < (3, 14):
        return ("10.9.0.34", "10.13.3.9", "11.4.0.106")
    return ("11.4.0.106",)


def describe(version: str) -> dict[str, Any]:
    """What the bindings of a version hold, as `tensorrt_describe.py` prints it."""
    folder = _unpacked(version)
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "LD_LIBRARY_PATH": f"{folder}{os.pathsep}{os.environ.get('LD_LIBRARY_PATH', '')}",
    }
    script = Path(__file__).with_name("tensorrt_describe.py")
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"the bindings of TensorRT {version} cannot be loaded:\n{done.stderr}"
    described: dict[str, Any] = json.loads(done.stdout)
    assert described["version"] == version
    return described


def _unpacked(version: str) -> Path:
    """A folder with the package `tensorrt` and the libraries that it asks for; downloaded once."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "sam2_ros" / "tensorrt_bindings" / f"{version}-{sys.implementation.cache_tag}"
    done = folder / "done"
    if done.exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run left
    folder.mkdir(parents=True)
    major = int(version.split(".")[0])
    download = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    subprocess.run([*download, "--dest", str(folder), f"{_PACKAGE[major]}=={version}"], check=True)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        wheel.unlink()
    # The name under which a whole TensorRT installs it.
    (folder / "tensorrt_bindings").rename(folder / "tensorrt")
    source = folder / "stub.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in _FUNCTIONS))
    for library in _LIBRARIES:
        output = folder / f"lib{library}.so.{major}"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(output), str(source)], check=True)
    done.touch()
    return folder
