"""Starts the tracker. `ros2 launch sam2_ros sam2.launch.py --show-args` lists the arguments."""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode

from sam2_ros.processes import large_image_profile

SHARE = Path(get_package_share_directory("sam2_ros"))

ARGUMENTS = [
    DeclareLaunchArgument("image_topic", default_value="", description="image topics, separated by commas"),
    DeclareLaunchArgument("model", default_value="", description="name of the model, such as sam2_pico"),
    DeclareLaunchArgument("checkpoint", default_value="", description="weights file, .pt or .safetensors"),
    DeclareLaunchArgument(
        "click_prompts", default_value="", description="true: a click in rqt_image_view adds an object"
    ),
    DeclareLaunchArgument("use_sim_time", default_value="", description="true: time comes from /clock"),
    DeclareLaunchArgument(
        "params_file",
        default_value=str(SHARE / "config" / "sam2.yaml"),
        description="parameters; what the arguments above leave empty is taken from here",
    ),
    DeclareLaunchArgument("namespace", default_value="", description="namespace of the node"),
    DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn or error"),
]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*ARGUMENTS, *large_image_settings(), OpaqueFunction(function=start_tracker)])


def large_image_settings() -> list[SetEnvironmentVariable]:
    """Fast DDS loses large images as it comes; a profile that the user has chosen stays."""
    variable, profile = large_image_profile(os.environ)
    return [] if variable in os.environ else [SetEnvironmentVariable(variable, str(profile))]


def start_tracker(context: LaunchContext) -> list[LifecycleNode]:
    """The node, with the parameters file and, on top, the arguments that were given."""

    def given(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    overrides: dict[str, str | bool | list[str]] = {}
    for argument, parameter in (("click_prompts", "allow_click_prompts"), ("use_sim_time", "use_sim_time")):
        if given(argument):
            overrides[parameter] = given(argument).lower() == "true"
    if given("image_topic"):
        overrides["image_topics"] = [topic.strip() for topic in given("image_topic").split(",")]
    if given("model"):
        overrides["model"] = given("model")
    if given("checkpoint"):
        overrides["checkpoint"] = os.path.abspath(os.path.expanduser(given("checkpoint")))
    return [
        LifecycleNode(
            package="sam2_ros",
            executable="sam2_node",
            name="sam2",
            namespace=given("namespace"),
            parameters=[given("params_file"), overrides],
            arguments=["--ros-args", "--log-level", given("log_level")],
            output="screen",
        )
    ]
