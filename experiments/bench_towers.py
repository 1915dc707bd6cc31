"""Time of IPCV in the vision tower of each family, beside its FLOPs.

    python experiments/bench_towers.py                 every family, table printed and written to experiments/towers.csv
    python experiments/bench_towers.py Qwen3-VL --rounds 9

Towers have the widths of real models, eight blocks and random weights, in fp32 on the CPU; the language model is a stub of one layer. Qwen3.5's tower is
Qwen3-VL's without DeepStack. The stock tower and IPCV take turns on the same input; a row holds medians. Run it alone on the machine: other work changes the ratios.
What follows the blocks runs in full in both (`after_ms`); `blocks_by_flops` is the ratio without it."""
import argparse, statistics, sys, time, warnings
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

warnings.filterwarnings("ignore")
import transformers
from ipcv import IPCV, compress
from ipcv.families.registry import tower_for
from ipcv.measure.environment import machine, versions
from ipcv.measure.flops import TOWER, true_counts

DEPTH = 8  # blocks
METHOD = IPCV(retain=.35, prune_layer=2, as_layers=2)
TEXT = dict(num_hidden_layers=1, hidden_size=64, intermediate_size=64, num_attention_heads=4, num_key_value_heads=4, head_dim=16, vocab_size=99,
            bos_token_id=None, eos_token_id=None)
MROPE = dict(rope_parameters=dict(rope_type="default", rope_theta=1e4, mrope_section=[2, 3, 3]))
SIGLIP = dict(model_type="siglip_vision_model", hidden_size=1152, intermediate_size=4304, num_attention_heads=16, num_hidden_layers=DEPTH, vision_use_head=False)
CLIP = dict(model_type="clip_vision_model", hidden_size=1024, intermediate_size=4096, num_attention_heads=16, num_hidden_layers=DEPTH, image_size=336, patch_size=14)
QWEN3 = dict(depth=DEPTH, hidden_size=1152, intermediate_size=4304, num_heads=16, out_hidden_size=64)
LLAMA, GEMMA = TEXT | dict(model_type="llama"), TEXT | dict(query_pre_attn_scalar=16)
PACKED = (1, 32, 32)  # grid of patches

# family -> (class, fields of its configuration, grid of patches or pixels along a tile, tiles)
TOWERS = {
    "Qwen2-VL": ("Qwen2VL", dict(vision_config=dict(depth=DEPTH, embed_dim=1280, num_heads=16, hidden_size=64), text_config=TEXT | MROPE), PACKED, 1),
    "Qwen2.5-VL": ("Qwen2_5_VL", dict(vision_config=dict(depth=DEPTH, hidden_size=1280, intermediate_size=3420, num_heads=16, out_hidden_size=64,
        fullatt_block_indexes=[3, 7]), text_config=TEXT | MROPE), PACKED, 1),
    "Qwen3-VL": ("Qwen3VL", dict(vision_config=QWEN3 | dict(deepstack_visual_indexes=[2, 4, 6]), text_config=TEXT | MROPE), PACKED, 1),
    "GLM-4V": ("Glm4v", dict(vision_config=dict(depth=DEPTH, hidden_size=1536, num_heads=12, out_hidden_size=4096, intermediate_size=13696),
        text_config=TEXT | MROPE | dict(hidden_size=4096)), PACKED, 1), # its blocks' MLPs are `out_hidden_size` wide
    "InternVL": ("InternVL", dict(vision_config=dict(hidden_size=1024, intermediate_size=4096, num_attention_heads=16, num_hidden_layers=DEPTH,
        image_size=[448, 448], patch_size=[14, 14]), text_config=TEXT | dict(model_type="qwen2")), 448, 1),
    "LLaVA-1.5": ("Llava", dict(vision_config=CLIP, text_config=LLAMA), 336, 2),
    "LLaVA-NeXT": ("LlavaNext", dict(vision_config=CLIP, text_config=LLAMA), 336, 2),
    "LLaVA-OneVision": ("LlavaOnevision", dict(vision_config=SIGLIP | dict(image_size=384, patch_size=14), text_config=TEXT | dict(model_type="qwen2")), 384, 2),
    "Gemma 3": ("Gemma3", dict(vision_config=SIGLIP | dict(image_size=896, patch_size=14), text_config=GEMMA), 896, 1),
    "PaliGemma": ("PaliGemma", dict(vision_config=SIGLIP | dict(image_size=448, patch_size=14, projection_dim=64), text_config=TEXT | dict(model_type="gemma"),
        projection_dim=64), 448, 1),
    "SmolVLM": ("SmolVLM", dict(vision_config=dict(hidden_size=1152, intermediate_size=4304, num_attention_heads=16, num_hidden_layers=DEPTH, image_size=364,
        patch_size=14), text_config=LLAMA, scale_factor=2), 364, 2),
}


def made(name):
    "A model with a real-width tower, and a call of the tower alone"
    cls, fields, size, tiles = TOWERS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{cls}Config")(**fields)
    model = getattr(transformers, f"{cls}ForConditionalGeneration")(config).eval()
    v = config.vision_config
    if isinstance(size, tuple):
        width = 3 * v.temporal_patch_size * v.patch_size ** 2
        args = torch.randn(size[0] * size[1] * size[2], width), torch.tensor([size])
        return model, size, lambda: model.model.visual(*args)
    pixels = torch.randn(tiles, 3, size, size)
    side = size // (v.patch_size if isinstance(v.patch_size, int) else v.patch_size[0])
    tower = getattr(model.model, "vision_tower", None) or model.model.vision_model
    return model, (tiles, side, side), lambda: tower(pixels)


def row(name, rounds):
    "Medians of one family"
    model, grid, call = made(name)
    seconds, ends, after = dict(stock=[], ipcv=[]), [], []
    def once(which):
        start = time.perf_counter()
        call()
        seconds[which].append(time.perf_counter() - start)
    with torch.inference_mode():
        call()
        for _ in range(rounds):
            hook = tower_for(model).blocks[-1].register_forward_hook(lambda *_: ends.append(time.perf_counter()))
            once("stock")
            after.append(time.perf_counter() - ends[-1])
            hook.remove()
            with compress(model, METHOD): once("ipcv")
    ratio = statistics.median(b / a for a, b in zip(seconds["stock"], seconds["ipcv"]))
    counts = [true_counts(model.config, methods, [grid]) for methods in ("vanilla", str(METHOD))]
    flops, rest = [count.only(*TOWER) for count in counts], counts[0].only("merger") / (1 + len(tower_for(model).taps({}))) # DeepStack's mergers are alike
    stock, ipcv, after = (1000 * statistics.median(s) for s in (*seconds.values(), after))
    return dict(family=name, grid="x".join(map(str, grid)), width=model.config.vision_config.to_dict().get("embed_dim", 0) or model.config.vision_config.hidden_size,
        stock_ms=stock, ipcv_ms=ipcv, time_pct=100 * ratio, flops_pct=100 * flops[1] / flops[0], time_by_flops=ratio * flops[0] / flops[1],
        after_ms=after, blocks_by_flops=(ipcv - after) / (stock - after) * (flops[0] - rest) / (flops[1] - rest))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("families", nargs="*", help=f"of {', '.join(TOWERS)} (default: all)")
    a.add_argument("--rounds", type=int, default=7, help="of stock and IPCV in turns")
    a.add_argument("--out", help="CSV file; default: experiments/towers.csv where all families ran, else none")
    args = a.parse_args()
    if unknown := set(args.families) - set(TOWERS): a.error(f"families={', '.join(sorted(unknown))}: must be of {', '.join(TOWERS)}")
    if args.rounds < 1: a.error(f"rounds={args.rounds}: must be at least 1")
    rows = [row(name, args.rounds) for name in tqdm(args.families or TOWERS, desc="families")]
    table = pd.DataFrame(rows)
    out = args.out or (None if args.families else Path(__file__).parent / "towers.csv")
    print(f"{METHOD}, {DEPTH} blocks, fp32, CPU: {machine()['cpu']}; torch {torch.__version__}, transformers {transformers.__version__}; medians of {args.rounds} rounds")
    print(table.round(dict(stock_ms=0, ipcv_ms=0, time_pct=1, flops_pct=1, time_by_flops=3, after_ms=0, blocks_by_flops=3)).to_string(index=False))
    if out: table.round(4).to_csv(out, index=False)


if __name__ == "__main__": main()
