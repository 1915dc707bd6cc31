#!/usr/bin/env bash
# Everything that needs a GPU, in one command, meant to stay under nine minutes: the tests that have a GPU part, then all measurements.
#
#   experiments/gpu_batch.sh            # results in experiments/results/gpu-DATE, one JSON and PNG a measurement
#   experiments/gpu_batch.sh --dry-run  # the same commands on small models and the CPU
#
# Hardware and versions stand in every file. PYTHON names the interpreter (default: .venv/bin/python, else python3).
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
case "${1:-}" in "") dry= ;; --dry-run) dry=1 ;; *) sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;; esac
out=experiments/results/gpu-$(date -u +%Y-%m-%dT%H%M%S)${dry:+-dry}; mkdir -p "$out"; failed=0
bench() { # name, arguments of `ipcv bench`
    echo "== $1"; "$python" -c 'from ipcv.cli import app; app()' bench "${@:2}" --out "$out/$1" 2>"$out/$1.err" && rm -f "$out/$1.err" || { failed=1; tail -n 1 "$out/$1.err"; }
}
ipcv="ipcv:retain=0.5 ipcv:retain=0.35 ipcv:retain=0.2"
if [ -n "$dry" ]; then
    tower=random:qwen2-vl-2b,vision_layers=12,text_layers=1; whole=random:qwen2-vl-2b,vision_layers=12,text_layers=5
    image=1x8x8; clip=2x4x8; how="--device cpu --dtype float32 --repeats 1 --new-tokens 1"; eight=2; grids="16"; dtype=float32; device=cpu; short="--tokens 60 --visual 40 --repeats 1"
else
    tower=random:qwen2-vl-7b,text_layers=1; whole=random:qwen2-vl-7b
    image=1x46x114; clip=16x32x32; how="--device cuda --dtype bfloat16 --repeats 9 --new-tokens 1"; eight=8; grids="72"; dtype=bfloat16; device=cuda; short="--repeats 20"
fi
# tests
if "$python" -c 'import nbdev' 2>/dev/null && [ -z "$dry" ]; then "$python" .ci/check.py $(cd nbs && ls 05_*.ipynb 07_*.ipynb 10_ipcv.ipynb | sed "s/.ipynb//") --workers 4 || failed=1; fi
# the tower: one image of 5,244 patches, eight at a time, a clip of 16 frames of 1,024 patches; block by block and with CUDA graphs
bench tower-image $ipcv --model $tower --grid $image --compiled $how
bench tower-batch $ipcv --model $tower --grid $image --batch $eight --compiled $how
bench tower-clip $ipcv --model $tower --grid $clip --video --compiled $how
if "$python" -c 'import flash_attn' 2>/dev/null && [ -z "$dry" ]; then bench tower-image-flash $ipcv --model $tower --grid $image --attn flash_attention_2 $how; fi
# the whole model: a prompt of Table 4, prefill and answer
bench table4 ipcv:retain=0.5+dart:retain=0.5 ipcv:retain=0.35+dart:retain=0.35 ipcv:retain=0.2+dart:retain=0.2 tome:retain=0.35 tome:retain=0.35,parity=True dart_vit:retain=0.35 downsample:retain=0.35 \
    ${dry:+--text 60} --model $whole --grid $image --compiled $how
[ -n "$dry" ] || bench table4-language dart:retain=0.2 fastv:retain=0.2 v2drop:retain=0.2 sparsevlm:retain=0.2 random_llm:retain=0.2 --model $whole --grid $image $how
# Figure 1: stock stages of low and high resolution and of a clip
if [ -z "$dry" ]; then
    for g in 1x74x70 1x128x128; do bench "figure1-qwen-$g" vanilla --model $whole --grid $g --new-tokens 8 --device cuda --dtype bfloat16 --repeats 3; done
    bench figure1-qwen-video vanilla --model $whole --grid 16x32x32 --video --new-tokens 8 --device cuda --dtype bfloat16 --repeats 3
    bench figure1-internvl vanilla --model random:internvl3-38b --grid 7x32x32 --new-tokens 8 --device cuda --dtype bfloat16 --repeats 3
fi
# what selection and matching take by themselves, and what the library's products take
"$python" experiments/bench_selection.py --device $device --dtype $dtype $short --out "$out/selection_overhead.csv" || failed=1
"$python" experiments/bench_matching.py --device $device --dtype $dtype --side $grids --out "$out/matching_overhead.csv" || failed=1
"$python" experiments/bench_neighbours.py --device $device --dtype $dtype ${dry:+--frames 2 --patches 64 --width 64} --out "$out/neighbours.csv" || failed=1
"$python" experiments/bench_products.py --device $device --dtype $dtype --patches $([ -n "$dry" ] && echo 64 || echo 5184) --repeats 5 --out "$out/products.csv" || failed=1
echo "results in $out"; exit $failed
