"""A simulated camera, the tracker and RViz.

To track an object, call the service /sam2/add_prompt, or run `ros2 run rqt_image_view rqt_image_view
/camera/image_raw`, tick "publish mouse clicks" there and click on the object.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("sam2_ros"))


def generate_launch_description() -> LaunchDescription:
    tracker = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "sam2.launch.py")),
        launch_arguments={
            "image_topic": "/camera/image_raw",
            "click_prompts": "true",
            "model": LaunchConfiguration("model"),
            "checkpoint": LaunchConfiguration("checkpoint"),
        }.items(),
    )
    camera = Node(
        package="sam2_ros",
        executable="camera_simulator",
        namespace="camera",
        parameters=[{"seed": LaunchConfiguration("seed")}],
        output="screen",
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(SHARE / "rviz" / "sam2.rviz")],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument("model", default_value="", description="name of the model"),
            DeclareLaunchArgument("checkpoint", default_value="", description="weights file"),
            DeclareLaunchArgument("seed", default_value="0", description="which scene the camera films"),
            DeclareLaunchArgument("rviz", default_value="true", description="whether to open RViz"),
            # First: it chooses the DDS settings that the camera and RViz need too.
            tracker,
            camera,
            rviz,
        ]
    )
