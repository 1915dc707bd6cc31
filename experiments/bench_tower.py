"""Time of a vision tower with IPCV relative to stock, on random weights.

    python experiments/bench_tower.py                       # Qwen2-VL-7B's tower, one image of 1,024 patches, fp32
    python experiments/bench_tower.py --retain 0.5 0.2 --repeats 5 --device cuda --dtype bfloat16

Stock and every ratio take turns within one run; medians are compared. Prints one line a ratio: seconds, time relative
to stock, and arithmetic (multiply-adds of the blocks) relative to stock.
"""
import argparse, time
from statistics import median

import torch
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel

from ipcv import IPCV, compress
from ipcv.core import kept_count


def model_with_tower(depth, width, heads, mlp, dtype, device):
    "A Qwen2-VL whose tower has this size and whose language model is next to nothing."
    text = dict(hidden_size=64, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64, vocab_size=64,
                rope_parameters=dict(rope_type="default", rope_theta=1e4, mrope_section=[2, 3, 3]))
    vision = dict(depth=depth, embed_dim=width, num_heads=heads, hidden_size=64, mlp_ratio=mlp // width)
    torch.manual_seed(0)
    return Qwen2VLModel(Qwen2VLConfig(vision_config=vision, text_config=text)).eval().requires_grad_(False).to(device, dtype)


def arithmetic(n, retain, prune_layer, as_layers, depth, width, mlp):
    "Multiply-adds of the tower's blocks, and of neighbours and reconstructions, for one image of n tokens."
    kept = kept_count(n, retain)
    block = lambda keys, queries: 2 * keys * width**2 + 2 * queries * width**2 + 2 * queries * keys * width + 2 * queries * width * mlp
    extra = (n - kept) * kept * width + as_layers * (n - kept) * 10 * width if retain < 1 else 0
    return prune_layer * block(n, n) + as_layers * block(n, kept) + (depth - prune_layer - as_layers) * block(kept, kept) + extra


def seconds(tower, pixels, grid):
    "Wall-clock time of one pass."
    wait = torch.cuda.synchronize if pixels.is_cuda else lambda: None
    wait(); start = time.perf_counter()
    with torch.inference_mode(): tower(pixels, grid_thw=grid)
    wait()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retain", type=float, nargs="+", default=[0.35], help="fractions kept")
    parser.add_argument("--grid", type=int, nargs=3, default=[1, 32, 32], help="frames, rows, columns of patches")
    parser.add_argument("--prune-layer", type=int, default=3)
    parser.add_argument("--as-layers", type=int, default=7)
    parser.add_argument("--depth", type=int, default=32)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--mlp", type=int, default=5120)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None, help="CPU threads")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    a = parser.parse_args()
    if a.threads: torch.set_num_threads(a.threads)

    model = model_with_tower(a.depth, a.width, a.heads, a.mlp, getattr(torch, a.dtype), a.device)
    t, rows, columns = a.grid
    n = t * rows * columns
    pixels = torch.randn(n, 3 * 2 * 14 * 14, device=a.device, dtype=getattr(torch, a.dtype))
    grid = torch.tensor([a.grid], device=a.device)
    methods = {retain: IPCV(retain, a.prune_layer, a.as_layers) for retain in a.retain}
    times = {label: [] for label in ("stock", *methods)}
    seconds(model.visual, pixels[:16], torch.tensor([[1, 4, 4]], device=a.device)) # warms up
    for _ in range(a.repeats):
        times["stock"].append(seconds(model.visual, pixels, grid))
        for retain, method in methods.items():
            with compress(model, method): times[retain].append(seconds(model.visual, pixels, grid))

    stock = median(times["stock"])
    print(f"tower of {a.depth} blocks, width {a.width}; {n:,} patches; {a.dtype} on {a.device}, {torch.get_num_threads()} threads; medians of {a.repeats}")
    print(f"stock         {stock:8.3f} s")
    for retain, method in methods.items():
        work = arithmetic(n, retain, a.prune_layer, a.as_layers, a.depth, a.width, a.mlp) / arithmetic(n, 1.0, a.prune_layer, 0, a.depth, a.width, a.mlp)
        print(f"retain={retain:<6g} {median(times[retain]):8.3f} s   time {median(times[retain]) / stock:.3f} of stock   arithmetic {work:.3f} of stock")


if __name__ == "__main__":
    main()
