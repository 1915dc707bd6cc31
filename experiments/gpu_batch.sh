#!/usr/bin/env bash
# Everything that needs a GPU, in one command, meant to stay under nine minutes: the tests that have a GPU part, then all measurements.
#
#   experiments/gpu_batch.sh            # results in experiments/results/gpu-DATE
#   experiments/gpu_batch.sh --dry-run  # the same commands on small models and the CPU
#
# Hardware and versions stand in every file. PYTHON names the interpreter (default: .venv/bin/python, else python3), SECONDS_A_STEP what the tests and
# the times of models may take each (default: no limit), OUT the folder of results.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
case "${1:-}" in "") dry= ;; --dry-run) dry=1 ;; *) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;; esac
out=${OUT:-experiments/results/gpu-$(date -u +%Y-%m-%dT%H%M%S)${dry:+-dry}}; mkdir -p "$out"; failed=0
step() { # name, seconds or 0, command
    echo "== $1"; timeout -s INT -k 5 "$2" "$python" "${@:3}" || { echo "$1 failed (exit status $?)"; failed=1; }
}
limit=${SECONDS_A_STEP:-0}
if [ -n "$dry" ]; then
    dtype=float32; device=cpu; grids=16; patches=64; short="--tokens 60 --visual 40 --repeats 1"
    step tests "$limit" experiments/gpu_tests.py --device cpu --families Qwen2-VL InternVL --notebooks 07_replay --workers 2 --methods "ipcv, ngr" dart --out "$out"
    step models 0 experiments/gpu_bench.py --small --out "$out"
else
    dtype=bfloat16; device=cuda; grids=72; patches=5184; short="--repeats 20"
    step tests "$limit" experiments/gpu_tests.py --out "$out"
    step models 0 experiments/gpu_bench.py --out "$out" ${SECONDS_A_STEP:+--seconds $SECONDS_A_STEP}
fi
# what selection and matching take by themselves, and what the library's products take
step selection "$limit" experiments/bench_selection.py --device $device --dtype $dtype $short --out "$out/selection_overhead.csv"
step matching "$limit" experiments/bench_matching.py --device $device --dtype $dtype --side $grids --out "$out/matching_overhead.csv"
step neighbours "$limit" experiments/bench_neighbours.py --device $device --dtype $dtype ${dry:+--frames 2 --patches 64 --width 64} --out "$out/neighbours.csv"
step products "$limit" experiments/bench_products.py --device $device --dtype $dtype --patches $patches --repeats 5 --out "$out/products.csv"
echo "results in $out"; exit $failed
