"""How fast the matrix products of a vision tower are by themselves: the limit that a library sets to any method.

    python experiments/bench_products.py                      # Qwen2-VL-7B's tower, 1,024 and 2,048 patches, fp32 on the CPU
    python experiments/bench_products.py --device cuda --dtype bfloat16 --patches 5184

Nothing of ipcv runs here but its count of tokens by block (`IPCV.work`): the linear layers and the attention of every block with the shapes that they have
under stock and under IPCV, on random numbers, stock and ratios taking turns. Prints the time relative to stock beside the arithmetic
relative to stock: where the first is larger, the library is slower on smaller matrices.
"""
import argparse, time
from pathlib import Path
from statistics import median

import pandas as pd
import torch
import torch.nn.functional as F

from ipcv import IPCV
from ipcv.measure.flops import block_flops, config_of
from ipcv.measure.environment import machine, versions
from ipcv.measure.flops import sizes


def products(tower, blocks, make):
    "Every product of the blocks, as functions without arguments; one set of weights serves all of them."
    D, heads, head, inner = tower.width, tower.heads, tower.head, tower.inner
    linear = {shape: make(*shape) for shape in ((D, D), (2 * D, D), (3 * D, D), (inner, D), (D, inner))}
    states = {}
    x = lambda n, width: states.setdefault((n, width), make(n, width))
    for asking, asked, through in blocks:
        if asking == asked: yield lambda n=asked: F.linear(x(n, D), linear[3 * D, D])
        else:
            yield lambda n=asking: F.linear(x(n, D), linear[D, D])
            yield lambda n=asked: F.linear(x(n, D), linear[2 * D, D])
        yield lambda a=asking, b=asked: F.scaled_dot_product_attention(*(x(n, D).view(1, n, heads, head).transpose(1, 2) for n in (a, b, b)))
        yield lambda n=asking: F.linear(x(n, D), linear[D, D])
        yield lambda n=through: F.linear(x(n, D), linear[inner, D])
        yield lambda n=through: F.linear(x(n, inner), linear[D, inner])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2-vl-7b", help="whose tower")
    parser.add_argument("--patches", type=int, nargs="+", default=[1024, 2048], help="of one image, multiples of 16")
    parser.add_argument("--retain", type=float, nargs="+", default=[0.5, 0.35, 0.2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path, default=None, help="csv to write")
    a = parser.parse_args()
    tower, dtype = sizes(config_of(a.model)).tower, getattr(torch, a.dtype)
    wait = torch.cuda.synchronize if torch.device(a.device).type == "cuda" else lambda: None
    make = lambda *shape: torch.randn(*shape, device=a.device, dtype=dtype)
    facts, rows = dict(device=machine()["gpu"] if a.device == "cuda" else f"{machine()['cpu']}, {machine()['threads']} threads", dtype=a.dtype, torch=versions()["torch"]), []
    for n in a.patches:
        settings = {1.: IPCV(1), **{r: IPCV(r) for r in a.retain}}
        blocks = {r: m.token_counts((1, 4, n // 4), tower).blocks for r, m in settings.items()}
        calls = {r: list(products(tower, b, make)) for r, b in blocks.items()}
        took = {r: [] for r in calls}
        with torch.inference_mode():
            for repeat in range(-1, a.repeats):
                for r, work in calls.items():
                    wait(); start = time.perf_counter()
                    for call in work: call()
                    wait()
                    if repeat >= 0: took[r].append(time.perf_counter() - start)
        work = {r: sum(block_flops(tower, *b) for b in blocks[r]) for r in blocks}
        for r in a.retain:
            time_pct, flops_pct = 100 * median(took[r]) / median(took[1.]), 100 * work[r] / work[1.]
            rows.append(dict(patches=n, retain=r, stock_s=median(took[1.]), time_pct=time_pct, flops_pct=flops_pct, over=time_pct / flops_pct, repeats=a.repeats, **facts))
            print(f"{n:6,} patches, retain {r}: products take {time_pct:.1f} % of stock's {median(took[1.]):.3f} s, arithmetic {flops_pct:.1f} %, {time_pct / flops_pct:.3f} times", flush=True)
    if a.out: pd.DataFrame(rows).to_csv(a.out, index=False, float_format="%.6g")


if __name__ == "__main__": main()
