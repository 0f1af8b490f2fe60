"""What setup.sh says on a machine that lacks something: one line with what is wrong and what to do."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ["awk", "basename", "bash", "cat", "cut", "dirname", "flock", "grep", "head", "id", "rm"]
TOOLS += ["sha256sum", "tail", "uname", "wc"]

SetUp = Callable[..., str]


@pytest.fixture
def set_up(tmp_path: Path) -> SetUp:
    """Runs a fresh checkout's setup.sh, which must fail; returns what it wrote to stderr.

    It finds the usual tools and this Python, changed by `programs`: name -> body of a bash script, or None
    for a program that is missing. `environment` adds variables.
    """
    checkout, found = tmp_path / "checkout", tmp_path / "bin"
    checkout.mkdir()
    for folder in ("scripts", "requirements", "msg", "srv"):
        shutil.copytree(ROOT / folder, checkout / folder)
    for file in ("CMakeLists.txt", "package.xml"):
        shutil.copy(ROOT / file, checkout)
    found.mkdir()
    for tool in TOOLS:
        (found / tool).symlink_to(_existing(tool))
    _script(found / "df", "printf 'header\\nfilesystem 0 0 100000000 0%% /\\n'")
    _script(found / "c++", "exit 0")
    _script(found / "python3", f'exec {sys.executable} "$@"')

    def run(programs: dict[str, str | None], environment: dict[str, str] | None = None) -> str:
        for name, body in programs.items():
            (found / name).unlink(missing_ok=True)
            if body is not None:
                _script(found / name, body)
        inherited = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        result = subprocess.run(
            [checkout / "scripts" / "setup.sh"],
            env={**inherited, "PATH": str(found), **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 1, result.stdout + result.stderr
        assert result.stderr.startswith("setup: ")
        assert result.stderr.count("\n") == 1
        return result.stderr

    return run


@pytest.mark.parametrize("version", ["3.9.18", "3.14.0"])
def test_unsupported_python_is_named_with_those_that_serve(set_up: SetUp, version: str) -> None:
    # Fails the version check, then tells its version.
    said = set_up({"python3": f'[[ $2 != *platform* ]] && exit 1; echo "{version}"'})
    assert "3.10 to 3.13" in said
    assert version in said
    assert "ROS 2" in said or "ros-" in said


def test_missing_python_is_called_missing(set_up: SetUp) -> None:
    assert "python3 is missing" in set_up({"python3": None})


def test_other_processors_are_sent_to_a_ros_installation(set_up: SetUp) -> None:
    said = set_up({"uname": "case $1 in -m) echo aarch64 ;; *) echo Linux ;; esac"})
    assert "aarch64" in said
    assert "setup.bash" in said


def test_full_disk_is_told_before_the_download(set_up: SetUp) -> None:
    said = set_up({"df": "printf 'header\\nfilesystem 0 0 1048576 0%% /\\n'"})
    assert "1 GB are free" in said


def test_missing_compiler_without_root_is_named(set_up: SetUp) -> None:
    said = set_up({"c++": None, "id": "echo 1000", "apt-get": "exit 0"})
    assert "g++" in said
    assert "root" in said


def test_missing_network_is_told_as_such(set_up: SetUp) -> None:
    nowhere = "http://127.0.0.1:9/simple"
    settings = {"PIP_INDEX_URL": nowhere, "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    assert "network" in set_up({}, settings)


def _existing(tool: str) -> str:
    path = shutil.which(tool)
    assert path, f"{tool} is not installed"
    return path


def _script(path: Path, body: str) -> None:
    path.write_text(f"#!{_existing('bash')}\n{body}\n")
    path.chmod(0o755)
