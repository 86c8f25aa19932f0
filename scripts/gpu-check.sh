#!/usr/bin/env bash
# Checks deeplpf on this machine's NVIDIA GPU and writes docs/benchmarks-gpu.md: the golden tests, 200
# steps of training, and the benchmark beside PyTorch, all in one run on one GPU.
#
#   scripts/gpu-check.sh [--programs FOLDER] [--python PYTHON] [--out PAGE]
#   scripts/gpu-check.sh --pack FOLDER        builds the programs into FOLDER, to be taken elsewhere
#   scripts/gpu-check.sh --dry-run            everything at tiny sizes on the tests' stand-in driver
#
# --programs  a folder that --pack made; otherwise they are built here (Rust, no CUDA toolkit needed).
#             The tests look for fixtures where they were built: the checkout must lie at the same path
# --python    a Python with torch for the peer's rows (default: python3); they stay empty without it
# --out       the page (default: docs/benchmarks-gpu.md; with --dry-run a temporary file)
#
# DEEPLPF_FIVEK    folder with input/ and expertC/, for the training; left out without it
# DEEPLPF_GOLDEN   golden vectors; the tests say loudly what they leave out without them
# DEEPLPF_AUTHORS  folder of the authors' program, measured beside the twin
#
# Driver, nvrtc and cuDNN must be found: scripts/cuda-toolkit.sh, docs/src/cuda.md.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
programs= python=python3 out= dry= pack=
usage() { sed -n '2,/^set/{/^set/!p}' "$0" | sed 's/^# \{0,1\}//'; }
while [ $# -gt 0 ]; do
    case $1 in
    --programs) programs=$(realpath "$2"); shift ;;
    --python) python=$2; shift ;;
    --out) out=$2; shift ;;
    --pack) pack=$2; shift ;;
    --dry-run) dry=1 ;;
    *) usage >&2; exit 2 ;;
    esac
    shift
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
step() { printf '\n== %s\n' "$1"; }
note() { echo "$1" | tee -a "$work/notes"; }

# Programs and test programs of this state of the sources, into the folder $1.
build() {
    mkdir -p "$1"
    local cargo=(cargo ${DEEPLPF_CARGO_OPTIONS:-}) built
    (
        cd "$root"
        "${cargo[@]}" build --release -p deeplpf-cli -p deeplpf-benches --features deeplpf-cli/cuda,deeplpf-benches/cuda
        for crate in core train; do
            built=$("${cargo[@]}" test --release -p deeplpf-$crate --features cuda --test cuda --no-run --message-format=json |
                sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1)
            cp "$built" "$1/test-$crate"
        done
        cp "${CARGO_TARGET_DIR:-target}"/release/{deeplpf,measure} "$1/"
    )
}

if [ -n "$pack" ]; then build "$(realpath -m "$pack")"; exit; fi
step "programs"
if [ -z "$programs" ]; then programs=$work/programs; build "$programs"; fi
for program in deeplpf measure test-core test-train; do
    [ -x "$programs/$program" ] || { echo "error: $programs has no program $program; make the folder with --pack" >&2; exit 2; }
done

if [ -n "$dry" ]; then
    # The core's tests build the stand-in beside their program and say where.
    export DEEPLPF_CUDA_TESTS=stand-in
    folder=$("$programs/test-core" --exact stand_in::folder_is_said --nocapture | sed -n 's/^stand-in: //p')
    export LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    tiny=(--tiny --rounds 2); peer=cpu; out=${out:-$(mktemp --suffix=.md)}
else
    export DEEPLPF_CUDA_TESTS=gpu
    tiny=(); peer=cuda:0; out=${out:-$root/docs/benchmarks-gpu.md}
fi

step "device"
if ! "$programs/measure" cuda device; then
    echo "error: no GPU that deeplpf can use on this machine (the reason is above); nothing was measured" >&2
    exit 1
fi
if command -v nvidia-smi >/dev/null; then
    note "$(nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,power.limit --format=csv,noheader | head -1)"
fi

step "golden tests"
golden() { # crate, filters
    local name=$1; shift
    (cd "$root/deeplpf-$name" && "$programs/test-$name" "$@" --test-threads 1) | tee "$work/test-$name"
    note "tests of deeplpf-$name on the device: $(sed -n 's/^test result: \(.*\); finished.*/\1/p' "$work/test-$name")"
}
if [ -z "${DEEPLPF_GOLDEN:-}" ]; then note "golden vectors: not compared with, DEEPLPF_GOLDEN names no folder of them"; fi
if [ -n "$dry" ]; then golden core golden; golden train a_resumed; else golden core; golden train; fi

step "training"
epochs=8 limit=25
if [ -z "${DEEPLPF_FIVEK:-}" ]; then
    note "200 steps of training: not run, DEEPLPF_FIVEK names no folder of pairs"
else
    # 25 pairs are trained on, so that 8 epochs are 200 steps; the last 3 validate.
    ls "$DEEPLPF_FIVEK/input" | sed 's/\.[^.]*$//' | sort >"$work/all"
    small=
    if [ -n "$dry" ]; then epochs=1 limit=2 small=$'crop = 48\n[model]\nwidths = [3, 4, 4, 4, 4]\nfeatures = 5\nhead_width = 4\nhead_size = 43'; fi
    head -n $limit "$work/all" >"$work/train"
    tail -n 3 "$work/all" >"$work/valid"
    cat >"$work/train.toml" <<TOML
run = "$work/run"
epochs = $epochs
device = "cuda:0"
[data]
source = "$DEEPLPF_FIVEK"
train = "$work/train"
valid = "$work/valid"
$small
TOML
    "$programs/deeplpf" train --config "$work/train.toml"
    first=$(sed -n '1s/.*"loss":\([^,}]*\).*/\1/p' "$work/run/metrics.jsonl")
    last=$(tail -1 "$work/run/metrics.jsonl" | sed 's/.*"loss":\([^,}]*\).*/\1/')
    note "$((epochs * limit)) steps of training${dry:+ (a narrow network on crops)}: mean loss of the first epoch $first, of the last $last"
    if [ -z "$dry" ] && ! awk "BEGIN { exit !($last < $first) }"; then
        echo "error: the loss did not fall" >&2; exit 1
    fi
fi

step "benchmark"
"$programs/measure" weights "$work/weights.safetensors"
"$programs/measure" cuda run --weights "$work/weights.safetensors" "${tiny[@]}" | tee "$work/ours.jsonl"
if "$python" -c 'import torch' 2>/dev/null; then
    "$python" "$root/benches/peers/gpu_peer.py" --weights "$work/weights.safetensors" --device $peer "${tiny[@]}" |
        tee "$work/peer.jsonl"
else
    for mode in eager graph compile+graph; do
        echo "{\"side\":\"pytorch\",\"what\":\"training-step\",\"mode\":\"$mode\",\"precision\":\"fp32\",\"skipped\":\"no torch\"}"
    done >"$work/peer.jsonl"
    echo "not measured: no torch in $python; name a Python that has one with --python"
fi
"$programs/measure" cuda page "$work/ours.jsonl" "$work/peer.jsonl" --notes "$work/notes" --out "$out"
echo "written: $out"
