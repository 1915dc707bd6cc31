"""What it saves that a process keeps freed memory (`files.keep_memory`) while it answers questions on a CPU.

    python experiments/bench_memory.py            # 12 prompts of the suite, stock and IPCV, on one thread; about 4 minutes

Processes with and without take turns, each with rounds that are counted after one that isn't. Writes a row per round to memory.csv beside
this file. Run it alone on the machine.
"""
import argparse, json, resource, subprocess, sys, time
from pathlib import Path

METHODS = {"Vanilla": "vanilla", "IPCV": "ipcv:retain=0.35,as_layers=3"}


def used():
    "Seconds of this process in the system and page faults so far, its peak of memory in MB."
    r = resource.getrusage(resource.RUSAGE_SELF)
    return r.ru_stime, r.ru_minflt, r.ru_maxrss / 1024


def child(kept, prompts, rounds):
    "A JSON line per round."
    import torch
    from ipcv import load
    from ipcv.files import keep_memory
    from ipcv.study.evaluate import evaluate
    from ipcv.study.tables import load_questions
    if kept and not keep_memory(): sys.exit("this C library has no such setting")
    torch.set_num_threads(1)
    model, processor = load("tiny")
    questions = load_questions("eval", prompts)
    for r in range(rounds + 1):
        start, before = time.perf_counter(), used()
        evaluate(model, processor, questions, METHODS, progress=False)
        system, faults, peak = used()
        row = dict(memory="kept" if kept else "given back", seconds=round(time.perf_counter() - start, 2), system_seconds=round(system - before[0], 2),
                   page_faults=faults - before[1], peak_mb=round(peak))
        if r: print(json.dumps(row), flush=True)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--prompts", type=int, default=12)
    a.add_argument("--rounds", type=int, default=2, help="of each process")
    a.add_argument("--turns", type=int, default=2, help="processes of each kind")
    a.add_argument("--out", type=Path, default=Path(__file__).parent / "memory.csv")
    a.add_argument("--child", choices=("0", "1"), help=argparse.SUPPRESS)
    args = a.parse_args()
    if args.child: return child(args.child == "1", args.prompts, args.rounds)
    import pandas as pd
    words = [sys.executable, __file__, "--prompts", str(args.prompts), "--rounds", str(args.rounds)]
    lines = [subprocess.run([*words, "--child", kept], stdout=subprocess.PIPE, text=True, check=True).stdout for _ in range(args.turns) for kept in "01"]
    rows = pd.DataFrame([json.loads(line) for text in lines for line in text.splitlines()])
    rows.to_csv(args.out, index=False)
    print(rows.groupby("memory").median().round(1).to_string())


if __name__ == "__main__": main()
