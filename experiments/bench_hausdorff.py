"""Time and extra memory of `ipcv.study.theory.hausdorff` on two sets of random states.

    python experiments/bench_hausdorff.py [--tokens 16384] [--width 1280]
"""
import argparse, resource, time

import torch

from ipcv.study.theory import hausdorff


def used(gpu):
    "The most bytes in use so far."
    return torch.cuda.max_memory_allocated() if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=16384)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    a = parser.parse_args()
    torch.manual_seed(0)
    x, y = (torch.randn(a.tokens, a.width, device=a.device) for _ in range(2))
    hausdorff(x[:99], y[:99])  # libraries are loaded before memory is counted
    gpu = torch.device(a.device).type == "cuda"
    if gpu: torch.cuda.reset_peak_memory_stats()
    before, start = used(gpu), time.perf_counter()
    distance = hausdorff(x, y).item()
    took, extra = time.perf_counter() - start, used(gpu) - before
    print(f"{a.tokens} states of width {a.width} twice, {a.device}, {torch.get_num_threads()} threads: "
          f"distance {distance:.6f}, {took:.1f} s, {extra / 1e9:.2f} GB extra")


if __name__ == "__main__": main()
