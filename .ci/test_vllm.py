"""`make test-vllm`: the plug-in inside a real engine, against `compress` on the same Hugging Face models.

    python .ci/test_vllm.py                      # every part, each in a process of its own
    python .ci/test_vllm.py answers embeddings   # some of them

Runs in the environment that `.ci/engines.py` makes. Ends with "N passed, M failed" and exits non-zero when something failed."""
import base64, io, json, os, signal, socket, subprocess, sys, tempfile, time, urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from parts import run_parts

METHOD = "ipcv:retain=0.35,as_layers=3"
METHODS = ("vanilla", METHOD, "ipcv:retain=0.2,prune_layer=1,as_layers=0,k=5,space=places,cover=0.5")
QUESTIONS = 100
SETTINGS = dict(dtype="float32", max_model_len=4096, enforce_eager=True, limit_mm_per_prompt={"image": 4, "video": 1})
ENGINE = dict(VLLM_CPU_KVCACHE_SPACE="1", HF_HUB_OFFLINE="1", VLLM_LOGGING_LEVEL="WARNING", TOKENIZERS_PARALLELISM="false")


def tiny_folder():
    from ipcv.loading import embedded_folder
    return str(embedded_folder("tiny"))


def questions(n=QUESTIONS):
    "Rows of the shipped suite with pictures: one or several of any size."
    from ipcv.study.tables import load_questions
    rows = load_questions("eval", max(8, n // 3))
    return [rows[i] for i in range(min(n, len(rows)))]


def prompts(processor, rows):
    "As `LLM.generate` takes them."
    from ipcv.loading import chat_prompt
    return [dict(prompt=chat_prompt(processor, r["question"], len(r["images"]), 0), multi_modal_data={"image": list(r["images"])}) for r in rows]


def expected(model, processor, rows, method):
    "Answers under `compress`."
    from ipcv import compress
    from ipcv.loading import ask, reply
    from ipcv.methods.text import parse
    with compress(model, *parse(method)):
        return [reply(model, processor, ask(processor, [list(r["images"])], [r["question"]]))[0] for r in rows]


def engine(folder, method, **more):
    from vllm import LLM
    from ipcv.integrations.vllm import flags
    return LLM(folder, **SETTINGS | flags(method, folder) | more)


def answers_of(llm, given):
    from vllm import SamplingParams
    return [o.outputs[0].text.strip() for o in llm.generate(given, SamplingParams(temperature=0, max_tokens=24), use_tqdm=False)]


def equal(got, want, what):
    wrong = [(a, b) for a, b in zip(got, want) if a != b]
    assert len(got) == len(want) and not wrong, f"{what}: {len(want) - len(wrong)} of {len(want)} answers are equal, the others {wrong[:3]}"
    print(f"  {what}: {len(want)} of {len(want)} answers equal Hugging Face's", flush=True)


def answers():
    "Greedy answers in one process, what the report says, and what caches are keyed by."
    from vllm.multimodal import MULTIMODAL_REGISTRY
    from ipcv import load
    model, processor = load("tiny")
    rows = questions()
    for method in METHODS:
        llm = engine(tiny_folder(), method)
        equal(answers_of(llm, prompts(processor, rows)), expected(model, processor, rows, method), method)
        info = MULTIMODAL_REGISTRY.get_processing_info(llm.llm_engine.vllm_config.model_config)
        assert info.model_id.endswith(method) # what the engine caches of an image is keyed by it
        assert llm.apply_model(lambda model: type(model).__name__) == ["Qwen2VLForConditionalGeneration"] # by which the engine decides for some models
        report, = llm.collective_rpc("ipcv_report")
        if method == "vanilla": assert report is None
        else:
            print(f"  {report}")
            assert 0 < report["tokens_kept"] < report["tokens_in"] and report["items"] > 0
        del llm


def models():
    "(name, folder) of small models with random weights, one a family, each with a processor, in hub layout."
    import torch, transformers
    from ipcv import load
    from ipcv.loading import tiny_config
    tiny, processor = load("tiny")
    tokenizer, text = processor.tokenizer, tiny.config.text_config
    ids = {name: getattr(tiny.config, name) for name in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")}
    patch = processor.image_processor.patch_size
    vision = dict(depth=6, hidden_size=128, num_heads=4, intermediate_size=256, out_hidden_size=text.hidden_size, patch_size=patch, temporal_patch_size=2)
    shared = dict(vocab_size=len(tokenizer), hidden_size=text.hidden_size, intermediate_size=256, num_hidden_layers=2, num_attention_heads=text.num_attention_heads,
                  num_key_value_heads=text.num_key_value_heads, tie_word_embeddings=True, bos_token_id=text.bos_token_id, eos_token_id=text.eos_token_id)
    half = text.hidden_size // text.num_attention_heads // 2
    sections = [half - 2 * (half // 3), half // 3, half // 3]
    rope = dict(rope_type="default", rope_theta=10000., mrope_section=sections)
    made = {"Qwen2_5_VL": dict(vision=vision | dict(window_size=4 * patch, fullatt_block_indexes=[1, 4]), text=shared | dict(rope_parameters=rope)),
            "Qwen3VL": dict(vision=vision | dict(num_position_embeddings=256, deepstack_visual_indexes=[1, 3, 4]),
                            text=shared | dict(head_dim=2 * half, rope_parameters=rope | dict(mrope_interleaved=True)))}
    home = Path(tempfile.mkdtemp(prefix="ipcv-models-"))
    for name, parts in made.items():
        torch.manual_seed(0)
        config = getattr(transformers, f"{name}Config")(vision_config=parts["vision"], text_config=parts["text"], **ids, tie_word_embeddings=True)
        model = getattr(transformers, f"{name}ForConditionalGeneration")(config).eval()
        for key, p in model.named_parameters():
            if p.ndim > 1: torch.nn.init.normal_(p, std=p[0].numel()**-.5)
        model.save_pretrained(home / name)
        processor.save_pretrained(home / name)
        yield name, str(home / name)


def tiles_folder():
    "The embedded InternVL, in hub layout with weights as an engine reads them."
    from ipcv import load
    home = Path(tempfile.mkdtemp(prefix="ipcv-models-")) / "InternVL"
    for part in load("tiny-internvl"): part.save_pretrained(home)
    return str(home)


def embeddings():
    "What the engine's tower gives for five sizes, two pictures and a clip in one call; for tiles, five of them."
    import torch
    from transformers import AutoModelForImageTextToText
    from ipcv import compress, load
    from ipcv.methods.text import parse
    from ipcv.testing import deviation
    grids = torch.tensor([[1, 8, 8], [1, 6, 10], [1, 16, 4], [1, 12, 12], [1, 20, 14], [1, 8, 8], [3, 8, 6]])
    draw = torch.Generator().manual_seed(0)
    def packed(model): # by the engine, or by Hugging Face
        out = model.visual(pixels, grid_thw=grids)
        return out if torch.is_tensor(out) else torch.cat([out.pooler_output, *(getattr(out, "deepstack_features", None) or [])], 1)
    def tiled(model):
        out = model.vision_tower(pixel_values=pixels)
        return out if torch.is_tensor(out) else out.last_hidden_state
    for name, folder in (("Qwen2VL", tiny_folder()), *models(), ("InternVL", tiles_folder())):
        stock = load("tiny")[0] if name == "Qwen2VL" else AutoModelForImageTextToText.from_pretrained(folder).eval()
        size, tower = stock.config.vision_config, tiled if name == "InternVL" else packed
        shape = (5, 3, 224, 224) if name == "InternVL" else (int(grids.prod(1).sum()), 3 * size.temporal_patch_size * size.patch_size**2)
        pixels = torch.randn(*shape, generator=draw)
        for method in METHODS[1:]:
            llm = engine(folder, method, mm_device_do_normalize=False) # the tower is given what the processor made
            got = llm.apply_model(tower)[0]
            with torch.no_grad(), compress(stock, *parse(method)): want = tower(stock.model)
            largest = want.abs().max().item()
            print(f"  {name}, {method}: off by {deviation(got, want):.0e}, states up to {largest:.0f}", flush=True)
            assert deviation(got, want) < 1e-5 * max(1, largest)
            del llm


def parallel():
    "An engine process of its own; two tensor-parallel workers; the encoder data-parallel over them."
    from ipcv import load
    model, processor = load("tiny")
    rows = questions(30)
    want, given = expected(model, processor, rows, METHOD), prompts(processor, rows)
    for what, more in {"engine in a process of its own": {}, "two tensor-parallel workers": dict(tensor_parallel_size=2),
                       "data-parallel encoder": dict(tensor_parallel_size=2, mm_encoder_tp_mode="data")}.items():
        if more: os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "0|1" # a core for each worker; by itself vLLM wants a NUMA node for each
        llm = engine(tiny_folder(), METHOD, **more)
        equal(answers_of(llm, given), want, what)
        reports = llm.collective_rpc("ipcv_report")
        print(f"  {[r['tokens_kept'] for r in reports]} tokens kept by worker")
        assert len(reports) == more.get("tensor_parallel_size", 1) and all(r["tokens_kept"] for r in reports)
        llm.llm_engine.engine_core.shutdown()
        del llm


@contextmanager
def server(method, **env):
    "An OpenAI-compatible server on a free port; its address."
    from ipcv.integrations.vllm import flags
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    given = flags(method, tiny_folder())
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", tiny_folder(), "--served-model-name", "tiny", "--port", str(port), "--host", "127.0.0.1",
               "--dtype", "float32", "--max-model-len", "4096", "--enforce-eager", "--limit-mm-per-prompt", json.dumps(SETTINGS["limit_mm_per_prompt"]),
               "--hf-overrides", json.dumps(given["hf_overrides"]), "--worker-extension-cls", given["worker_extension_cls"]]
    log = tempfile.TemporaryFile()
    process = subprocess.Popen(command, env=os.environ | env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            if process.poll() is not None: break
            try: urllib.request.urlopen(f"{address}/health", timeout=2); break
            except OSError: time.sleep(.5)
        if process.poll() is not None:
            log.seek(0)
            raise RuntimeError(log.read().decode(errors="replace")[-2000:])
        yield address
    finally:
        if process.poll() is None: os.killpg(process.pid, signal.SIGTERM)
        try: process.wait(20)
        except subprocess.TimeoutExpired: os.killpg(process.pid, signal.SIGKILL)


def as_url(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def serving():
    "16 requests at once, the metrics, and the workers' report."
    from ipcv import load
    model, processor = load("tiny")
    rows = questions(48)
    def post(url, **body):
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as got: return json.load(got)
    def chat(address, row):
        content = [*(dict(type="image_url", image_url=dict(url=as_url(p))) for p in row["images"]), dict(type="text", text=row["question"])]
        got = post(f"{address}/v1/chat/completions", model="tiny", messages=[dict(role="user", content=content)], temperature=0, max_tokens=24)
        return got["choices"][0]["message"]["content"].strip()
    with tempfile.TemporaryDirectory() as folder, server(METHOD, PROMETHEUS_MULTIPROC_DIR=folder, VLLM_SERVER_DEV_MODE="1") as address:
        with ThreadPoolExecutor(16) as pool: got = list(pool.map(lambda row: chat(address, row), rows))
        equal(got, expected(model, processor, rows, METHOD), "16 requests at once")
        with urllib.request.urlopen(f"{address}/metrics") as page:
            lines = [line for line in page.read().decode().splitlines() if line.startswith("ipcv_")]
        report, = post(f"{address}/collective_rpc", method="ipcv_report")["results"]
    print("  " + "\n  ".join([*lines, str(report)]))
    counts = {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in lines}
    assert 0 < counts["ipcv_tokens_kept_total"] < counts["ipcv_tokens_in_total"] and counts["ipcv_items_total"] > 0
    assert report["method"] == METHOD and report["tokens_kept"] == counts["ipcv_tokens_kept_total"], report


def refusals():
    "Without the plug-in, and under what cannot work, an engine does not start."
    cases = {"without the plug-in": (METHOD, dict(VLLM_PLUGINS=""), "not supported"), "compiled encoder": (METHOD, {}, "compile_mm_encoder", dict(compilation_config={"compile_mm_encoder": True}))}
    for what, (method, env, named, *more) in cases.items():
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_vllm; test_vllm.engine(test_vllm.tiny_folder(), {method!r}, **{more[0] if more else {}!r})"
        done = subprocess.run([sys.executable, "-c", code], env=os.environ | env, capture_output=True, text=True, timeout=300)
        said = next((line for line in (done.stdout + done.stderr).splitlines() if named in line), "")
        print(f"  {what}: {said.strip()[-160:]}")
        assert done.returncode and said, (done.stdout + done.stderr)[-1500:]


PARTS = {part.__name__: part for part in (answers, embeddings, parallel, serving, refusals)}
HERE = dict(VLLM_ENABLE_V1_MULTIPROCESSING="0") # the engine in the process of the test
if __name__ == "__main__": run_parts(__file__, PARTS, ENGINE, dict(answers=HERE, embeddings=HERE, serving=dict(VLLM_LOGGING_LEVEL="INFO")))
