"""Time that joining tokens takes in a block of the vision tower, relative to that block, at Qwen2-VL-7B's sizes, on random weights.

    python experiments/bench_matching.py                                    # fp32 on the CPU, 1,024 and 5,184 patches
    python experiments/bench_matching.py --device cuda --dtype bfloat16 --repeats 20 --out matching_overhead.csv

Merging is matching, weighted means, and what the next block has to be told (`Merging.merge_step`), of one image, a fifth of whose
tokens are joined. Block, joining and a block with proportional attention take turns within one run; medians are compared.
"""
import argparse, platform, time
from pathlib import Path
from statistics import median

import pandas as pd
import torch, transformers
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel

import ipcv
from ipcv.methods.tome import ToMe
from ipcv.methods.shortening import Merging
from ipcv.families.registry import tower_for


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, nargs="+", default=[32, 72], help="patches along a side of the image, even")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None, help="CPU threads")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path, default=None, help="csv to write")
    a = parser.parse_args()
    if a.threads: torch.set_num_threads(a.threads)
    device, dtype, rows = torch.device(a.device), getattr(torch, a.dtype), []
    text = dict(hidden_size=64, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64, vocab_size=64,
                rope_parameters=dict(rope_type="default", rope_theta=1e4, mrope_section=[2, 3, 3]))
    torch.manual_seed(0)
    model = Qwen2VLModel(Qwen2VLConfig(vision_config=dict(depth=1, embed_dim=a.width, num_heads=a.heads, hidden_size=64), text_config=text)).eval().requires_grad_(False).to(device, dtype)
    tower = tower_for(model); block = tower.blocks[0]
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    hardware = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    for side in a.side:
        n, grid, kwargs = side * side, torch.tensor([[1, side, side]], device=device), {}
        hook = block.register_forward_pre_hook(lambda m, args, given: kwargs.update(given, states=args[0]), with_kwargs=True)
        tower.module(torch.randn(n, 1176, device=device, dtype=dtype), grid_thw=grid); hook.remove()
        states = kwargs.pop("states")
        items = tower.items(None, (None, grid), {})

        def joining():
            tower_pass = Merging(ToMe(.8, schedule="steep"), tower, items, [[n // 5 // 4 * 4]], [["weigh"]], True)
            tower_pass.start_merging(states, kwargs)
            wait(); start = time.perf_counter()
            tower_pass.merge_step(0, states, metric, kwargs)
            wait(); return time.perf_counter() - start

        def stock():
            wait(); start = time.perf_counter(); block(states, **kwargs); wait()
            return time.perf_counter() - start

        def weighted():
            tower_pass = Merging(ToMe(.8), tower, items, [[0]], [["weigh"]], True)
            tower_pass.start_merging(states, kwargs)
            wait(); start = time.perf_counter(); tower_pass.merging_block(0, None, states, kwargs); wait()
            return time.perf_counter() - start

        metric = torch.randn(n, a.width // a.heads, device=device)
        calls = dict(block=stock, joining=joining, proportional=weighted)
        with torch.inference_mode():
            for call in calls.values(): call()
            taken = {name: [] for name in calls}
            for _ in range(a.repeats):
                for name, call in calls.items(): taken[name].append(call())
        seconds = {name: median(times) for name, times in taken.items()}
        rows.append(dict(patches=n, block_ms=1e3 * seconds["block"], joining_ms=1e3 * seconds["joining"], joining_pct=100 * seconds["joining"] / seconds["block"],
                         proportional_pct=100 * seconds["proportional"] / seconds["block"], hardware=hardware, device=a.device, dtype=a.dtype, threads=torch.get_num_threads(),
                         repeats=a.repeats, torch=torch.__version__, transformers=transformers.__version__, ipcv=ipcv.__version__))
        print(f"{n:6,} patches: block {rows[-1]['block_ms']:.1f} ms, joining {rows[-1]['joining_ms']:.1f} ms ({rows[-1]['joining_pct']:.1f} % of it), block with proportional attention {rows[-1]['proportional_pct']:.0f} %", flush=True)
    if a.out: pd.DataFrame(rows).to_csv(a.out, index=False)


if __name__ == "__main__": main()
