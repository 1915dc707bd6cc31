"""Times of methods on one GPU, on models of real size with random weights, in one process.

    python experiments/gpu_bench.py --out FOLDER                # one JSON and one PNG a measurement, most important first
    python experiments/gpu_bench.py --out FOLDER --seconds 200  # none is begun after that; what was left out is said
    python experiments/gpu_bench.py --out FOLDER --small        # the same on small models and the CPU, to try the code

Needs the GPU for itself. `ipcv bench` does each of these by itself."""
import argparse, sys, time, traceback
from pathlib import Path

from ipcv import load
from ipcv.families.sizes import model_sizes
from ipcv.loading import random_config
from ipcv.measure.bench import bench
from ipcv.measure.flops import same_flops
from ipcv.methods import ipcv
from ipcv.methods.text import parse

IPCV = [f"ipcv:retain={r}" for r in (.5, .35, .2)]
BOTH = [f"{m}+dart:{m.partition(':')[2]}" for m in IPCV]
RIVALS = "tome:retain=0.35 tome:retain=0.35,parity=True dart_vit:retain=0.35 downsample:retain=0.35".split()
AFTER = "divprune:retain=0.35 cdpruner:retain=0.35 visionzip:retain=0.35 hiprune:retain=0.35".split()
LANGUAGE = [f"{m}:retain=0.2" for m in "dart fastv v2drop sparsevlm random_llm".split()]
SIZE = model_sizes(random_config("qwen2-vl-7b"))
def best(grid): return [str(same_flops(lambda r: ipcv.IPCV.best(r, 32), parse(m)[0], [grid], SIZE)) for m in IPCV] # as many tokens as cost the same
TOWER, WHOLE, IMAGE, CLIP = "random:qwen2-vl-7b,text_layers=1", "random:qwen2-vl-7b", (1, 46, 114), (16, 32, 32)

# name -> (model, methods, grids of a prompt's items, further settings); the most important first
MEASUREMENTS = {
    "table4": (WHOLE, BOTH + RIVALS, [IMAGE], dict(compiled=True)),
    "tower-image": (TOWER, IPCV + best(IMAGE), [IMAGE], dict(compiled=True)),
    "tower-clip": (TOWER, IPCV + best(CLIP), [CLIP], dict(compiled=True, video=True)),
    "table4-language": (WHOLE, LANGUAGE, [IMAGE], {}),
    "after-tower": (WHOLE, AFTER, [IMAGE], {}),
    "tower-batch": (TOWER, IPCV, [IMAGE], dict(compiled=True, batch=8)),
    "figure1-qwen-video": (WHOLE, ["vanilla"], [CLIP], dict(video=True, new_tokens=8, repeats=3)),
    "figure1-qwen-1x74x70": (WHOLE, ["vanilla"], [(1, 74, 70)], dict(new_tokens=8, repeats=3)),
    "figure1-qwen-1x128x128": (WHOLE, ["vanilla"], [(1, 128, 128)], dict(new_tokens=8, repeats=3)),
}
SMALL = {TOWER: "random:qwen2-vl-2b,vision_layers=12,text_layers=1", WHOLE: "random:qwen2-vl-2b,vision_layers=12,text_layers=5"}


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--out", type=Path, required=True, help="folder for the results")
    a.add_argument("--seconds", type=float, default=float("inf"), help="begin no measurement after this time")
    a.add_argument("--only", nargs="*", help=f"of {', '.join(MEASUREMENTS)}")
    a.add_argument("--repeats", type=int, default=9, help="rounds in which the methods take turns")
    a.add_argument("--small", action="store_true", help="small models, pictures and the CPU")
    args = a.parse_args()
    if unknown := set(args.only or []) - set(MEASUREMENTS): a.error(f"only={', '.join(sorted(unknown))}: must be of {', '.join(MEASUREMENTS)}")
    args.out.mkdir(parents=True, exist_ok=True)
    start, loaded, failed, left = time.perf_counter(), {}, False, []
    for name, (model, methods, grids, settings) in MEASUREMENTS.items():
        if args.only and name not in args.only: continue
        if time.perf_counter() - start > args.seconds:
            left.append(name)
            continue
        settings = dict(new_tokens=1, repeats=args.repeats) | settings
        if args.small:
            model, grids = SMALL[model], [(g[0] // 4 or 1, 8, 8) for g in grids]
            settings |= dict(repeats=1, new_tokens=1)
        print(f"== {name}, {time.perf_counter() - start:.0f} s", flush=True)
        try:
            if model not in loaded: # weights made once serve all measurements
                loaded[model], _ = load(model, *(("cpu", "float32") if args.small else ("cuda", "bfloat16")))
                loaded[model].config.name_or_path = model
            result = bench(loaded[model], methods, grids, text=60 if args.small else 89, **settings)
            print(f"{result}\n{result.save(args.out, name).name}", flush=True)
        except Exception:
            failed = True
            traceback.print_exc()
    if left: print(f"left out after {args.seconds:.0f} s: {', '.join(left)}")
    print(f"{time.perf_counter() - start:.0f} s in all")
    return int(failed)


if __name__ == "__main__": sys.exit(main())
