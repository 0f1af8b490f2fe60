"""The ROS 2 layer of SAM 2: nodes, conversions, services and their client.

The messages and services (`sam2_ros.msg`, `sam2_ros.srv`) are generated at build time into another
folder of the same package name; both halves are found from either one.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
