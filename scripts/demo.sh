#!/usr/bin/env bash
# Sets up what is missing, then runs the main job on this machine: a camera, the tracker, a client
# that prompts it, a recorder. ./scripts/demo.sh --help lists the options.
set -euo pipefail

scripts=$(dirname "${BASH_SOURCE[0]}")
"$scripts/setup.sh"
# shellcheck source=scripts/environment.sh
. "$scripts/environment.sh"

exec python -m sam2_ros.demo "$@"
