"""Time and extra memory of `ipcv.theory.hausdorff` on two sets of random states: `python experiments/bench_hausdorff.py [--tokens 16384] [--width 1280]`."""
import argparse, resource, time
import torch
from ipcv.study.theory import hausdorff

a = argparse.ArgumentParser(description=__doc__)
a.add_argument("--tokens", type=int, default=16384)
a.add_argument("--width", type=int, default=1280)
a.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
args = a.parse_args()
torch.manual_seed(0)
x, y = (torch.randn(args.tokens, args.width, device=args.device) for _ in range(2))
hausdorff(x[:99], y[:99])  # libraries are loaded before memory is counted
gpu = args.device == "cuda"
if gpu: torch.cuda.reset_peak_memory_stats()
used = lambda: torch.cuda.max_memory_allocated() if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, start = used(), time.perf_counter()
distance = hausdorff(x, y).item()
took, extra = time.perf_counter() - start, used() - before
print(f"{args.tokens} states of width {args.width} twice, {args.device}, {torch.get_num_threads()} threads: distance {distance:.6f}, {took:.1f} s, {extra / 1e9:.2f} GB extra")
