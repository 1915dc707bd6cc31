#!/usr/bin/env bash
# Both models that ship (nbs/35_recipe.ipynb), trained at once on one GPU by the clock.
#
#   experiments/train_gpu.sh SECONDS TOWER      # what is worth keeping goes to $OUT (default: runs)
#   experiments/train_gpu.sh --dry-run TOWER    # a minute of it at smoke size on the CPU
#
# SECONDS are for everything, from the start to the written weights. TOWER is the file of tiny-internvl's tower (nbs/36_tiny_internvl.ipynb).
# Leaves five files of at most 15 MB: OUT/MODEL/weights-*.safetensors (the trained weights) and OUT/MODEL/run.json (log, evaluation). To make a
# model of them: python -m ipcv.study.recipe --model MODEL --join OUT/MODEL --tower TOWER --out FOLDER
# They are written once a minute, so that a run that is killed leaves them too. PYTHON names the interpreter, WORK a folder for all else.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-}" in
    --dry-run) seconds=80; slack=400; how="--device cpu --smoke --workers 1" ;;
    ''|*[!0-9]*) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
    *) seconds=$1; slack=45; how="--device cuda --workers ${WORKERS:-8}" ;;
esac
tower=${2:?the file of the tower of tiny-internvl}; out=${OUT:-runs}; work=${WORK:-$(mktemp -d)}
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
export PYTHONPATH=${TRANSFORMERS_AT:+$TRANSFORMERS_AT:}$PWD PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=1
mkdir -p "$out" "$work"
models="tiny tiny-internvl"; pids=()
for model in $models; do
    timeout -s TERM -k 20 $((seconds + slack)) "$python" -m ipcv.study.recipe --model $model --tower "$tower" --out "$work/$model" --parts "$out/$model" \
        --seconds "$seconds" $how >"$work/$model.log" 2>&1 &
    pids+=($!)
done
began=$SECONDS; failed=0
while [ $((SECONDS - began)) -lt 75 ]; do # what fails at once fails for both: there is time to mend it
    sleep 2; alive=0
    for pid in "${pids[@]}"; do kill -0 "$pid" 2>/dev/null && alive=$((alive + 1)); done
    [ $alive -eq 0 ] && break
    if [ $alive -lt ${#pids[@]} ] && [ $((SECONDS - began)) -lt $((seconds / 2)) ]; then echo "one of the two ended early"; kill "${pids[@]}" 2>/dev/null; break; fi
done
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
for model in $models; do
    echo "== $model"; grep -v -e '^ *"' -e Loading "$work/$model.log" | awk 'NR <= 6 || NR % 12 == 0' | cut -c1-420 | tail -n 14; tail -n 6 "$work/$model.log" | cut -c1-300
    "$python" - "$work/$model/eval.json" <<'P' 2>/dev/null
import json, sys
held = json.load(open(sys.argv[1]))
print(held["taken"], held["accuracy"], held["steps"], "steps")
for tag, of in held["families"].items(): print(tag, of)
P
done
ls -l "$out"/*; exit $failed
