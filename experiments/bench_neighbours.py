"""Time and extra memory of finding the neighbours of a long video's removed tokens, and of rebuilding them once.

    python experiments/bench_neighbours.py                      # 32,768 patches of width 1,280, fp32 on the CPU
    python experiments/bench_neighbours.py --device cuda --dtype bfloat16

Random states. Extra memory is what is allocated above the states themselves (see `measure.memory.peak_bytes`). Prints a line, writes csv with `--out`.
"""
import argparse, time
from pathlib import Path

import pandas as pd
import torch

from ipcv.measure.environment import machine, versions
from ipcv.measure.memory import peak_bytes
from ipcv.ops.ngr import donors, reconstruct, updates
from ipcv.tokens import Items, keep_top, kept_count


def seconds(call, wait):
    "How long one call takes."
    wait()
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--patches", type=int, default=1024, help="of a frame")
    parser.add_argument("--retain", type=float, default=0.35)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path, default=None, help="csv to write")
    a = parser.parse_args()
    n, side = a.frames * a.patches, 4
    items = Items(("video",), ((a.frames, side, a.patches // side),), ((a.patches,) * a.frames,))
    states = torch.randn(n, a.width, device=a.device, dtype=getattr(torch, a.dtype))
    split = keep_top(states.float().norm(dim=1), items, (kept_count(n, a.retain),))
    kept, removed = split.kept(states), split.removed(states)
    wait = torch.cuda.synchronize if states.is_cuda else lambda: None
    found = {}
    def search(): found["donors"] = donors(split, kept, removed, a.k)
    def rebuild(): reconstruct(removed, updates(kept, kept), found["donors"])
    row = dict(patches=n, kept=len(kept), width=a.width, k=a.k)
    with torch.inference_mode():
        for name, call in (("search", search), ("rebuild", rebuild)):
            row[f"{name}_s"] = seconds(call, wait)
            row[f"{name}_extra_mb"] = peak_bytes(call, a.device) / 1e6
    here = machine()
    row |= dict(device=here["gpu"] if states.is_cuda else f"{here['cpu']}, {here['threads']} threads", dtype=a.dtype, torch=versions()["torch"])
    print(f"{n:,} patches, {len(kept):,} kept: neighbours {row['search_s']:.2f} s and {row['search_extra_mb']:.0f} MB extra; "
          f"one rebuilding {row['rebuild_s']:.3f} s and {row['rebuild_extra_mb']:.0f} MB extra")
    if a.out: pd.DataFrame([row]).to_csv(a.out, index=False, float_format="%.6g")


if __name__ == "__main__": main()
