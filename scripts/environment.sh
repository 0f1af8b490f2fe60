# shellcheck shell=bash
# Sourced: puts .venv, the checkout's Python code and its messages first.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export VIRTUAL_ENV=$root/.venv
# Set by the ROS 2 wheels for their own interpreter; inherited, it would stop ours from finding its libraries.
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE
if [ "$(cat "$VIRTUAL_ENV/ros")" = wheels ]; then
    unset AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH PYTHONPATH ROS_DISTRO RMW_IMPLEMENTATION
fi
export PATH=$VIRTUAL_ENV/bin:$PATH
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export AMENT_PREFIX_PATH=$VIRTUAL_ENV${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}
export LD_LIBRARY_PATH=$VIRTUAL_ENV/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
