#!/usr/bin/env bash
# Proves on this machine's NVIDIA GPU what other machines cannot: sets up what is missing, builds TensorRT
# engines where TensorRT is installed, checks them against PyTorch in float32, measures how fast we are, and
# writes what it found. ./scripts/gpu_check.sh --help lists the options.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/report.sh
. "$root/scripts/report.sh"

usage() {
    cat <<'EOF'
usage: gpu_check.sh [--checkpoint FILE]... [--workspace MIB] [--out DIR]

Builds the engines of the bundled model, and of every checkpoint, and checks them: each stage, and the whole
tracker, must find what PyTorch finds in float32. Then the speed is measured: of PyTorch, ONNX Runtime and TensorRT,
and of the official predictor and transformers beside them, with three models. Takes some hours.

  --checkpoint FILE  a model to check besides the bundled one; may be repeated
  --workspace MIB    memory that one layer of an engine may use; 512 on a Jetson with 8 GB (default: no limit)
  --out DIR          where report.md and the measurements go (default: gpu_check/)
EOF
}

main() {
    local -a checkpoints=("") engine_options=()
    local out=$root/gpu_check
    while [ $# -gt 0 ]; do
        case $1 in
            --help | -h)
                usage
                exit ;;
            --checkpoint | --workspace | --out)
                [ $# -ge 2 ] || fail "$1 needs a value; --help lists the options" ;;
            *)
                fail "option $1 is unknown; --help lists the options" ;;
        esac
        case $1 in
            --checkpoint)
                [ -e "$2" ] || fail "checkpoint $2: there is no such file"
                checkpoints+=("$(realpath "$2")") ;;
            --workspace) engine_options+=(--workspace "$2") ;;
            --out) out=$(realpath -m "$2") ;;
        esac
        shift 2
    done

    has_gpu || fail "no NVIDIA GPU on this machine (nvidia-smi finds none), so there is nothing to check"
    "$root/scripts/setup.sh"
    # shellcheck source=scripts/environment.sh
    . "$root/scripts/environment.sh"
    cd "$root"
    python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
        fail "PyTorch $(python -c 'import torch; print(torch.__version__)') finds no GPU: install NVIDIA's build into .venv"

    mkdir -p "$out" || fail "$out cannot be written"
    log=$out/log.txt
    : >"$log"
    local report=$out/report.md
    describe_machine >"$report"
    cat "$report"
    if python -c 'import tensorrt' 2>>"$log"; then
        build_engines "$report"
    else
        printf '## Engines\n\nTensorRT is not installed: no engine was built.\n\n' | tee -a "$report"
        echo "On a Jetson install JetPack's python3-libnvinfer, elsewhere: .venv/bin/pip install tensorrt"
    fi
    measure "$out" "$report"
    echo "The report: $report"
}

has_gpu() {
    nvidia-smi -L >/dev/null 2>&1 || [ -e /dev/nvhost-gpu ] || [ -e /dev/nvgpu ] # the latter two on a Jetson
}

describe_machine() {
    python - <<'EOF'
import importlib.util
import platform

import torch

gpu = torch.cuda.get_device_properties(0)
tensorrt = "not installed"
if importlib.util.find_spec("tensorrt"):
    import tensorrt

    tensorrt = tensorrt.__version__
print(f"""# GPU check

| | |
|---|---|
| GPU | {gpu.name}, compute capability {gpu.major}.{gpu.minor}, {gpu.total_memory / 2**30:.1f} GiB |
| machine | {platform.platform()} |
| PyTorch | {torch.__version__}, CUDA {torch.version.cuda} |
| TensorRT | {tensorrt} |
""")
EOF
}

# build_engines REPORT: those of all checkpoints, and what became of each.
build_engines() {
    local checkpoint
    printf '## Engines\n\n' >>"$1"
    for checkpoint in "${checkpoints[@]}"; do
        local -a model=()
        [ -z "$checkpoint" ] || model=(--checkpoint "$checkpoint")
        local name=${checkpoint:-the bundled model}
        local before
        before=$(wc -l <"$log")
        step "Building and checking the engines of $name (many minutes)" "sam2-engine failed" \
            python -m sam2_core.tools.engine build "${model[@]}" "${engine_options[@]}"
        {
            printf '%s:\n\n' "$name"
            # Progress bars overwrite their line; what stays of each is its end.
            tail -n "+$((before + 1))" "$log" | grep -a -v -e '^== ' -e '^$' -e $'\r' | sed 's/^/    /'
            echo
        } >>"$1"
    done
}

# measure OUT REPORT: ours in every executor, the official predictor and transformers beside each other.
measure() {
    step "Measuring, with engines of the other models (some hours)" "the benchmark failed" \
        python benchmark/gpu.py --device cuda "${engine_options[@]}" --out "$1"
    {
        printf '## Times\n\n![frames per second](gpu.png)\n\n'
        cat "$1/gpu.md"
    } >>"$2"
}

main "$@"
