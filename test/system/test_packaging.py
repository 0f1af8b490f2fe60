"""What someone who builds, installs or launches the package relies on."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from ament_index_python import get_packages_with_prefixes
from catkin_pkg.package import Package, parse_package

import sam2_ros
from sam2_ros.parameters import Parameters

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("camera_simulator", "sam2_node", "video_publisher")


@pytest.fixture(scope="module")
def manifest() -> Package:
    return parse_package(ROOT / "package.xml")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix that `cmake --install` fills, as `colcon build` would."""
    source = tmp_path_factory.mktemp("source") / "sam2_ros"
    # CMake exports no include folder that lies in the source folder, as numpy's does with .venv inside.
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "demo_output"))
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("prefix")
    options = [f"-DCMAKE_INSTALL_PREFIX={prefix}", f"-DCMAKE_PREFIX_PATH={sys.prefix}", "-DBUILD_TESTING=OFF"]
    python = [f"-DPython3_EXECUTABLE={sys.executable}", f"-DPYTHON_EXECUTABLE={sys.executable}"]
    _run(["cmake", "-S", source, "-B", build, *options, *python])
    _run(["cmake", "--build", build, "--parallel"])
    _run(["cmake", "--install", build])
    return prefix


def test_manifest_is_valid_and_names_licence_and_build_type(manifest: Package) -> None:
    manifest.validate()
    assert manifest.licenses == ["Apache-2.0"]
    assert manifest.get_build_type() == "ament_cmake"
    assert [group.name for group in manifest.member_of_groups] == ["rosidl_interface_packages"]
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_manifest_declares_every_ros_package_that_the_code_imports(manifest: Package) -> None:
    code = [*ROOT.glob("sam2_ros/**/*.py"), *ROOT.glob("launch/*.py")]
    imported = set().union(*(_imported_packages(path) for path in code))
    known = {*get_packages_with_prefixes(), "ament_index_python", "launch", "launch_ros"} - {manifest.name}
    assert imported & known <= {dependency.name for dependency in manifest.exec_depends}


def test_requirements_name_every_distribution_that_the_code_imports() -> None:
    code = [path for folder in ("sam2_core", "sam2_ros", "test") for path in ROOT.glob(f"{folder}/**/*.py")]
    imported = set().union(*(_imported_packages(path) for path in code)) - {"sam2_core", "sam2_ros"}
    from_ros = {"ament_index_python", *get_packages_with_prefixes()}
    providers = packages_distributions()
    required = {
        re.split(r"[^\w.-]", line)[0].lower().replace("_", "-")
        for path in (ROOT / "requirements").glob("*.txt")
        for line in path.read_text().splitlines()
    }
    for module in (imported & providers.keys()) - from_ros:
        assert {name.lower().replace("_", "-") for name in providers[module]} & required, module


def test_checkout_and_generated_half_are_one_package() -> None:
    from sam2_ros.msg import ObjectMasks
    from sam2_ros.srv import AddPrompt

    assert Path(sam2_ros.__file__).parent == ROOT / "sam2_ros"
    assert ObjectMasks().objects == []
    assert AddPrompt.Request().object_id == 0


def test_parameters_file_gives_every_parameter_its_default() -> None:
    text = (ROOT / "config" / "sam2.yaml").read_text()
    assert yaml.safe_load(text)["/**"]["ros__parameters"] == asdict(Parameters())


def test_readme_tells_every_parameter_with_its_default() -> None:
    readme = (ROOT / "README.md").read_text()
    for name, default in asdict(Parameters()).items():
        value = default if default and isinstance(default, str) else json.dumps(default)
        assert f"\n| `{name}` | `{value}` |" in readme


@pytest.mark.slow
def test_installation_holds_everything(installed: Path) -> None:
    share = installed / "share" / "sam2_ros"
    for folder in ("config", "launch", "rviz"):
        for source in (ROOT / folder).iterdir():
            assert source.is_dir() or (share / folder / source.name).read_bytes() == source.read_bytes()
    site_packages = _site_packages(installed)
    for package in ("sam2_core", "sam2_ros"):
        for source in (ROOT / package).rglob("*.py"):
            assert (site_packages / source.relative_to(ROOT)).is_file()
    assert (site_packages / "sam2_core" / "weights" / "sam2_pico.safetensors").is_file()
    assert (site_packages / "sam2_ros" / "msg" / "__init__.py").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_installed_programs_run_without_the_checkout(installed: Path, name: str) -> None:
    program = installed / "lib" / "sam2_ros" / name
    # A value that no node accepts: the program has to get as far as its parameters to refuse it.
    result = subprocess.run(
        [program, "--ros-args", "-p", "camera_timeout:=-1.0", "-p", "frames:=-1"],
        env=_environment(installed),
        cwd=installed,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "camera_timeout" in result.stderr or "frames" in result.stderr


def _run(command: list[str | Path]) -> None:
    result = subprocess.run(command, env=_clean_environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def _clean_environment() -> dict[str, str]:
    # The ROS 2 wheels set this for their own interpreter; a child finds its libraries without it.
    return {name: value for name, value in os.environ.items() if name != "_ROS_WHEELS_BOOTSTRAP_COMPLETE"}


def _environment(prefix: Path) -> dict[str, str]:
    environment = _clean_environment()
    for name, folder in (("LD_LIBRARY_PATH", prefix / "lib"), ("AMENT_PREFIX_PATH", prefix)):
        environment[name] = os.pathsep.join(filter(None, [str(folder), environment.get(name)]))
    others = [
        path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path and Path(path) != ROOT
    ]
    environment["PYTHONPATH"] = os.pathsep.join([str(_site_packages(prefix)), *others])
    return environment


def _site_packages(prefix: Path) -> Path:
    (generated,) = prefix.glob("**/sam2_ros/msg/__init__.py")
    return generated.parents[2]


def _imported_packages(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}
