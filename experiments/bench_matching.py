"""Time that joining tokens takes in a block of the vision tower, relative to that block, at Qwen2-VL-7B's sizes, on random weights.

    python experiments/bench_matching.py                                    # fp32 on the CPU, 1,024 and 5,184 patches
    python experiments/bench_matching.py --device cuda --dtype bfloat16 --repeats 20 --out matching_overhead.csv

Joining is matching, weighted means, and the kwargs of the next block (`Merging.join`), of one image, a fifth of whose
tokens are joined. Block, joining and a block with proportional attention are interleaved in every timing round; medians are compared.
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
    tower = small_tower(a)
    rows = [measured(tower, side, a) for side in a.side]
    if a.out: pd.DataFrame(rows).to_csv(a.out, index=False)


def small_tower(a):
    "One block of the tower at the asked width."
    text = dict(hidden_size=64, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64, vocab_size=64,
                rope_parameters=dict(rope_type="default", rope_theta=1e4, mrope_section=[2, 3, 3]))
    vision = dict(depth=1, embed_dim=a.width, num_heads=a.heads, hidden_size=64)
    torch.manual_seed(0)
    model = Qwen2VLModel(Qwen2VLConfig(vision_config=vision, text_config=text)).eval().requires_grad_(False)
    return tower_for(model.to(a.device, getattr(torch, a.dtype)))


def block_inputs(tower, grid, a):
    "States and kwargs that the block gets for one image of random pixels."
    seen = {}
    def note(module, args, kwargs): seen.update(states=args[0], **kwargs)
    hook = tower.blocks[0].register_forward_pre_hook(note, with_kwargs=True)
    tower.module(torch.randn(grid.prod(), 1176, device=a.device, dtype=getattr(torch, a.dtype)), grid_thw=grid)
    hook.remove()
    return seen.pop("states"), seen


def measured(tower, side, a):
    "A row: milliseconds of a block, of joining, and of a block with proportional attention."
    n, grid = side * side, torch.tensor([[1, side, side]], device=a.device)
    gpu = torch.device(a.device).type == "cuda"
    wait = torch.cuda.synchronize if gpu else lambda: None
    block, items = tower.blocks[0], tower.items(None, (None, grid), {})
    metric = torch.randn(n, a.width // a.heads, device=a.device)

    def timed(call):
        wait()
        start = time.perf_counter()
        call()
        wait()
        return time.perf_counter() - start

    def merging(method, joined):
        tower_pass = Merging(method, tower, items, [[joined]], ["weigh"], True)
        tower_pass.begin(states, kwargs)
        return tower_pass

    def joining():
        tower_pass = merging(ToMe(.8, schedule="steep"), n // 5 // 4 * 4)
        return timed(lambda: tower_pass.join(0, states, metric, kwargs))

    def weighted():
        tower_pass = merging(ToMe(.8), 0)
        return timed(lambda: tower_pass.taken_apart(0, 0, states, kwargs))

    def stock(): return timed(lambda: block(states, **kwargs))

    with torch.inference_mode():
        states, kwargs = block_inputs(tower, grid, a)
        calls = dict(block=stock, joining=joining, proportional=weighted)
        for call in calls.values(): call()
        taken = {name: [] for name in calls}
        for _ in range(a.repeats):
            for name, call in calls.items(): taken[name].append(call())
    ms = {name: 1e3 * median(times) for name, times in taken.items()}
    joining_pct, proportional_pct = (100 * ms[name] / ms["block"] for name in ("joining", "proportional"))
    print(f"{n:6,} patches: block {ms['block']:.1f} ms, joining {ms['joining']:.1f} ms ({joining_pct:.1f} % of it), "
          f"block with proportional attention {proportional_pct:.0f} %", flush=True)
    hardware = torch.cuda.get_device_name() if gpu else f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    return dict(patches=n, block_ms=ms["block"], joining_ms=ms["joining"], joining_pct=joining_pct, proportional_pct=proportional_pct,
                hardware=hardware, device=a.device, dtype=a.dtype, threads=torch.get_num_threads(), repeats=a.repeats,
                torch=torch.__version__, transformers=transformers.__version__, ipcv=ipcv.__version__)


if __name__ == "__main__": main()
