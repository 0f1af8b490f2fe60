# shellcheck shell=bash
# Sourced: puts .venv, the checkout's Python code and its messages first, and keeps everything that is
# started from here to this machine and to a ROS domain of its own. Expects `root`.

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

export FASTDDS_DEFAULT_PROFILES_FILE=$root/config/fastdds_large_images.xml
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
if [ "${ROS_DISTRO:-}" = humble ]; then
    export ROS_LOCALHOST_ONLY=1
    export FASTRTPS_DEFAULT_PROFILES_FILE=$FASTDDS_DEFAULT_PROFILES_FILE
fi
# 1 to 100: below the ports that Linux hands out, and different for two checkouts at the same time.
export ROS_DOMAIN_ID=$((1 + $$ % 100))
