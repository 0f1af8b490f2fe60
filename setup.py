"""`pip install .` installs sam2_core alone, for use without ROS; CMakeLists.txt builds the ROS package."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def requirements(name: str) -> list[str]:
    """The lines of a requirements file that name a distribution."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    return [line for line in map(str.strip, lines) if line and not line.startswith("#")]


setup(
    packages=find_packages(include=["sam2_core*"]),
    package_data={
        "sam2_core": ["weights/*.safetensors", "training/configs/*.yaml", "tracking/reference_clip/*.jpg"]
    },
    # sam2-bag writes these messages.
    data_files=[("share/sam2_ros/msg", [str(path.relative_to(ROOT)) for path in ROOT.glob("msg/*.msg")])],
    install_requires=requirements("core"),
    extras_require={name: requirements(name) for name in ("acceleration", "training")},
    entry_points={
        "console_scripts": [
            f"sam2-{tool} = sam2_core.tools.{tool}:main"
            for tool in ("bag", "engine", "eval", "export", "image", "model", "train", "video")
        ]
    },
)
