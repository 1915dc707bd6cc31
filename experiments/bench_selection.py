"""Time that language methods take to choose, relative to a prefill at Qwen2-VL-7B's decoder sizes, on random weights.

    python experiments/bench_selection.py                                   # fp32 on the CPU, 2 layers (0.95 GB each)
    python experiments/bench_selection.py --device cuda --dtype bfloat16 --repeats 20 --out selection_overhead.csv

A prefill is 28 times one decoder layer at the full prompt. A method's time is that of `choose`, summed over its stages,
each with the tokens that the stages before it left. Layer and methods are interleaved in every timing round; medians are compared.
Prints one line per method and ratio, and writes them as csv with `--out`.
"""
import argparse, platform, time
from pathlib import Path
from statistics import median

import pandas as pd
import torch, transformers
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel

import ipcv
from ipcv.families.registry import language_adapter
from ipcv.language.drop import DecoderPass
from ipcv.language.packing import take
from ipcv.measure.environment import machine
from ipcv.methods.dart import DART
from ipcv.methods.fastv import FastV
from ipcv.methods.random import RandomLLM
from ipcv.methods.sparsevlm import SparseVLM
from ipcv.methods.v2drop import V2Drop

DEPTH = 28 # decoder layers of Qwen2-VL-7B


def decoder(layers, dtype, device):
    "A Qwen2-VL with Qwen2-VL-7B's decoder layers, few of them, and the smallest tower that can be built."
    text = dict(hidden_size=3584, num_hidden_layers=layers, num_attention_heads=28, num_key_value_heads=4, intermediate_size=18944,
                vocab_size=64, bos_token_id=None, eos_token_id=None, rope_parameters=dict(rope_type="default", rope_theta=1e6, mrope_section=[16, 24, 24]))
    vision = dict(depth=1, embed_dim=32, num_heads=2, hidden_size=3584, mlp_ratio=1)
    torch.manual_seed(0)
    return Qwen2VLModel(Qwen2VLConfig(vision_config=vision, text_config=text)).eval().requires_grad_(False).to(device, dtype)


class Timed:
    "A method that notes how long its choices take."
    def __init__(self, method, wait):
        self.method, self.wait, self.seconds, self.seen = method, wait, 0., []

    def __getattr__(self, name): return getattr(self.method, name)

    def choose(self, view):
        self.seen.append(view.visual.shape[1])
        self.wait()
        start = time.perf_counter()
        out = self.method.choose(view)
        self.wait()
        self.seconds += time.perf_counter() - start
        return out


def choices(adapter, method, inputs, angles, visual, wait):
    "One prompt's way down through a method's stages; inputs are those of layers 0, 1 and 2, and stand in for deeper ones."
    timed = Timed(method, wait)
    decoder_pass = DecoderPass(timed, {"image": visual}, torch.ones_like(visual), adapter)
    decoder_pass.first, decoder_pass.below = inputs[0], adapter.layers[1]
    angles = [a.expand(len(visual), -1, -1) for a in angles]
    for layer in method.layers:
        columns = decoder_pass.columns
        decoder_pass.before = take(inputs[1], columns)
        decoder_pass.kwargs = {"position_embeddings": tuple(take(a, columns) for a in angles)}
        decoder_pass.drop(layer, take(inputs[2], columns))
    return timed


def hardware(device):
    "The name of what it runs on."
    if torch.device(device).type == "cuda": return torch.cuda.get_device_name(device)
    return machine()["cpu"] or platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retain", type=float, nargs="+", default=[0.35, 0.2, 0.05], help="fractions kept")
    parser.add_argument("--tokens", type=int, default=1400, help="of the prompt")
    parser.add_argument("--visual", type=int, default=1311, help="of these, visual ones")
    parser.add_argument("--layers", type=int, default=2, help="decoder layers to build, at least 2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None, help="CPU threads")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", default=None, help="csv file to write")
    a = parser.parse_args()
    if a.threads: torch.set_num_threads(a.threads)
    wait = torch.cuda.synchronize if torch.device(a.device).type == "cuda" else lambda: None

    with torch.inference_mode(): table = measured(a, wait)
    one = table.layer_s[0]
    print(f"one decoder layer of Qwen2-VL-7B, {a.tokens:,} tokens: {one:.4f} s, so {DEPTH * one:.3f} s a prefill; "
          f"{a.dtype} on {a.device}, {torch.get_num_threads()} threads; medians of {a.repeats}")
    for row in table.itertuples():
        print(f"{row.method:36s} {1000 * row.select_s:9.2f} ms   {row.percent_of_prefill:6.3f} % of a prefill   tokens at its stages: {row.tokens_at_stages}")
    if a.out: table.to_csv(a.out, index=False, float_format="%.6g")


KINDS = (DART, {}), (FastV, {}), (V2Drop, {}), (V2Drop, dict(parity=True)), (SparseVLM, {}), (SparseVLM, dict(parity=True)), (RandomLLM, {})


def measured(a, wait):
    "One row per method and ratio: seconds of choosing beside those of a layer."
    dtype = getattr(torch, a.dtype)
    model = decoder(a.layers, dtype, a.device)
    text, adapter = model.language_model, language_adapter(model)
    inputs = [torch.randn(1, a.tokens, 3584, device=a.device, dtype=dtype)]
    visual = torch.zeros(1, a.tokens, dtype=torch.bool, device=a.device)
    visual[:, 15:15 + a.visual] = True
    angles = text.rotary_emb(inputs[0], torch.arange(a.tokens, device=a.device).expand(3, 1, -1))
    def layer(i, states): return text.layers[i](states, position_embeddings=angles, attention_mask=None)
    for i in range(2):
        out = layer(i, inputs[i])
        inputs.append(out[0] if isinstance(out, tuple) else out)

    methods = [kind(retain, **more) for retain in a.retain for kind, more in KINDS]
    tokens = {m: choices(adapter, m, inputs, angles, visual, wait).seen for m in methods} # warms up
    forwards, seconds = [], {m: [] for m in methods}
    for repeat in range(a.repeats):
        wait()
        start = time.perf_counter()
        layer(repeat % a.layers, inputs[0])
        wait()
        forwards.append(time.perf_counter() - start)
        for m in methods: seconds[m].append(choices(adapter, m, inputs, angles, visual, wait).seconds)
    one = median(forwards)
    facts = dict(prompt_tokens=a.tokens, visual_tokens=a.visual, repeats=a.repeats, device=a.device, dtype=a.dtype, threads=torch.get_num_threads(),
                 hardware=hardware(a.device), python=platform.python_version(), torch=torch.__version__, transformers=transformers.__version__, ipcv=ipcv.__version__)
    def row(m):
        chosen = median(seconds[m])
        return dict(method=str(m), retain=m.retain, stages=len(m.layers), tokens_at_stages=" ".join(map(str, tokens[m])),
                    select_s=chosen, layer_s=one, prefill_s=DEPTH * one, percent_of_prefill=100 * chosen / (DEPTH * one), **facts)
    return pd.DataFrame([row(m) for m in methods])


if __name__ == "__main__":
    main()
