"""How fast the matrix products of a vision tower are by themselves: the limit that a library sets to any method.

    python experiments/bench_products.py                      # Qwen2-VL-7B's tower, 1,024 and 2,048 patches, fp32 on the CPU
    python experiments/bench_products.py --device cuda --dtype bfloat16 --patches 5184

Nothing of ipcv runs here but its count of tokens by block (`IPCV.token_counts`): the linear layers and the attention of every block with
the shapes that they have under stock and under IPCV, on random numbers, stock and ratios interleaved in every timing round. Prints the
time relative to stock beside the FLOPs relative to stock: where the first is larger, the library is slower on smaller matrices.
"""
import argparse, time
from pathlib import Path
from statistics import median

import pandas as pd
import torch
import torch.nn.functional as F

from ipcv import IPCV
from ipcv.families.sizes import model_sizes
from ipcv.measure.environment import machine, versions
from ipcv.measure.flops import block_flops, config_of


class Products:
    "The matrix products of a tower's blocks; one set of weights and one of states per shape serves all blocks."
    def __init__(self, tower, make):
        self.tower, self.make, self.made = tower, make, {}

    def random(self, *shape):
        if shape not in self.made: self.made[shape] = self.make(*shape)
        return self.made[shape]

    def linear(self, n, inputs, outputs): F.linear(self.random(n, inputs), self.random(outputs, inputs))

    def attention(self, queries, keys):
        heads, head = self.tower.heads, self.tower.head
        q, k = (self.random(n, self.tower.width).view(1, n, heads, head).transpose(1, 2) for n in (queries, keys))
        F.scaled_dot_product_attention(q, k, k)

    def block(self, queries, keys, mlp):
        D, inner = self.tower.width, self.tower.inner
        if queries == keys: self.linear(keys, D, 3 * D)
        else:
            self.linear(queries, D, D)
            self.linear(keys, D, 2 * D)
        self.attention(queries, keys)
        self.linear(queries, D, D)
        self.linear(mlp, D, inner)
        self.linear(mlp, inner, D)


def timed(products, settings, repeats, wait):
    "Median seconds of all blocks by setting; the first round does not count."
    seconds = {name: [] for name in settings}
    for repeat in range(-1, repeats):
        for name, blocks in settings.items():
            wait()
            start = time.perf_counter()
            for block in blocks: products.block(*block)
            wait()
            if repeat >= 0: seconds[name].append(time.perf_counter() - start)
    return {name: median(times) for name, times in seconds.items()}


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
    tower, dtype = model_sizes(config_of(a.model)).tower, getattr(torch, a.dtype)
    gpu, here = torch.device(a.device).type == "cuda", machine()
    wait = torch.cuda.synchronize if gpu else lambda: None
    facts = dict(device=here["gpu"] if gpu else f"{here['cpu']}, {here['threads']} threads", dtype=a.dtype, torch=versions()["torch"])
    products, rows = Products(tower, lambda *shape: torch.randn(*shape, device=a.device, dtype=dtype)), []
    for n in a.patches:
        settings = {r: IPCV(r).token_counts((1, 4, n // 4), tower).blocks for r in (1., *a.retain)}
        with torch.inference_mode(): seconds = timed(products, settings, a.repeats, wait)
        flops = {r: sum(block_flops(tower, *block) for block in blocks) for r, blocks in settings.items()}
        for r in a.retain:
            time_pct, flops_pct = 100 * seconds[r] / seconds[1.], 100 * flops[r] / flops[1.]
            over = time_pct / flops_pct
            rows.append(dict(patches=n, retain=r, stock_s=seconds[1.], time_pct=time_pct, flops_pct=flops_pct, over=over, repeats=a.repeats, **facts))
            print(f"{n:6,} patches, retain {r}: products take {time_pct:.1f} % of stock's {seconds[1.]:.3f} s, FLOPs {flops_pct:.1f} %, {over:.3f} times", flush=True)
    if a.out: pd.DataFrame(rows).to_csv(a.out, index=False, float_format="%.6g")


if __name__ == "__main__": main()
