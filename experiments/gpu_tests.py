"""The tests that have a GPU part, and every method on every family on the GPU, without nbdev.

    python experiments/gpu_tests.py --out FOLDER                    # notebooks, then families in fp32 and bf16: FOLDER/families.csv
    python experiments/gpu_tests.py --device cpu --families Qwen2-VL --methods "ipcv, ngr" dart --notebooks 07_replay

A notebook passes where its code cells run in order. For families the cells of `79_families` are taken as they are, so that the checks are those of its table
(every prompt pruned, `retain=1` and after the `with` block bit for bit stock); in bf16 near ties between scores may fall either way in a batch, so its
deviations are reported as a median and bound nothing."""
import argparse, json, os, sys, time, traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

NBS = Path(__file__).resolve().parent.parent / "nbs"
NOTEBOOKS = "05_attention 07_compress 07_replay 10_ipcv 20_memory".split()
SETUP = "quiet models methods cell".split()  # cells of 79_families that define what a pair has to pass


def code_cells(name):
    "(id, source) of each code cell"
    cells = json.loads((NBS / f"{name}.ipynb").read_text())["cells"]
    return [(c["id"], "".join(c["source"])) for c in cells if c["cell_type"] == "code"]


def execute(name, wanted=None):
    "The names that a notebook defines; only the `wanted` cells where given"
    module = sys.modules[f"notebook_{name}"] = ModuleType(f"notebook_{name}") # a real one, so that its functions can be pickled
    module.display = print
    for cell, source in code_cells(name):
        if wanted is None or cell in wanted: exec(compile(source, f"{name}[{cell}]", "exec"), vars(module))
    return vars(module)


def notebook(name):
    "(name, seconds, what went wrong or '')"
    os.environ["MPLBACKEND"] = "agg"
    os.chdir(NBS)
    start = time.perf_counter()
    try: execute(name)
    except ModuleNotFoundError as e: return name, time.perf_counter() - start, f"skipped: {e}"
    except Exception: return name, time.perf_counter() - start, traceback.format_exc(limit=-3)
    return name, time.perf_counter() - start, ""


def family(name, dtype, device, methods):
    "One row of the table, and what went wrong"
    import torch
    space, dtype = execute("79_families", SETUP), getattr(torch, dtype)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    make, asking = space["MODELS"][name]
    model = make()
    ask_on_cpu = asking(model)
    model.to(device, dtype)
    def move(x): return x.to(device, dtype) if torch.is_floating_point(x) else x.to(device)
    def ask(some): return {k: move(v) if torch.is_tensor(v) else v for k, v in ask_on_cpu(some).items()}
    found, wrong, refused = [], [], 0
    for label, method in space["chosen"].items():
        if methods and label not in methods: continue
        try: result = space["checked"](model, ask, method)
        except Exception as e:
            wrong.append(f"{label}: {type(e).__name__}: {e}")
            continue
        if isinstance(result, str): refused += 1
        else: found.append(result)
    row = dict(family=name, dtype=str(dtype).removeprefix("torch."), device=device, ran=len(found), refused=refused, failed=len(wrong),
               median=torch.tensor(found).median().item() if found else None, largest=max(found, default=None))
    return row, wrong


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--device", default="cuda")
    a.add_argument("--out", type=Path, help="folder for families.csv (default: printed only)")
    a.add_argument("--notebooks", nargs="*", default=NOTEBOOKS)
    a.add_argument("--families", nargs="*", help="default: all of 79_families")
    a.add_argument("--methods", nargs="*", help="labels of 79_families; default: all")
    a.add_argument("--dtypes", nargs="*", default=["float32", "bfloat16"])
    a.add_argument("--workers", type=int, default=8)
    args = a.parse_args()
    import pandas as pd, torch, transformers
    if args.device == "cuda" and not torch.cuda.is_available(): a.error("device=cuda: there is no GPU here; allowed: --device cpu")
    names, failed, rows = execute("79_families", ["quiet", "models"])["MODELS"], False, []
    if unknown := set(args.families or []) - set(names): a.error(f"families={', '.join(sorted(unknown))}: must be of {', '.join(names)}")
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        work = [pool.submit(notebook, n) for n in args.notebooks]
        pairs = [pool.submit(family, f, d, args.device, args.methods) for d in args.dtypes for f in args.families or names]
        for done in as_completed(work):
            name, seconds, wrong = done.result()
            skipped = wrong.startswith("skipped")
            failed |= bool(wrong) and not skipped
            print(f"{name}: {wrong if skipped else 'FAILED' if wrong else 'passed'}, {seconds:.0f} s", "" if skipped else wrong, flush=True)
        for done in pairs:
            row, wrong = done.result()
            rows.append(row)
            failed |= bool(wrong)
            for line in wrong: print(f"{row['family']}, {row['dtype']}: {line}", flush=True)
    table = pd.DataFrame(rows).assign(torch=torch.__version__, transformers=transformers.__version__)
    table["hardware"] = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    print(table.drop(columns=["torch", "transformers", "hardware"]).to_string(index=False))
    exact = table[table.dtype == "float32"].largest.max()
    if exact > 1e-3:
        print(f"fp32: a batch differs from its prompts alone by {exact:.1e}")
        failed = True
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        table.to_csv(args.out / "families.csv", index=False)
    return int(failed)


if __name__ == "__main__": sys.exit(main())
