#!/usr/bin/env bash
# Sets up what is missing, then checks the style and the types and runs the tests.
# Options go to pytest: ./scripts/test.sh -k packaging, ./scripts/test.sh -m slow, ./scripts/test.sh -n 0 for one
# process.
set -euo pipefail

scripts=$(dirname "${BASH_SOURCE[0]}")
"$scripts/setup.sh"
# shellcheck source=scripts/environment.sh
. "$scripts/environment.sh"
cd "$root"

shellcheck -x scripts/setup.sh scripts/test.sh scripts/demo.sh scripts/gpu_check.sh .ci/run
ruff check .
mypy
exec python -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup "$@"
