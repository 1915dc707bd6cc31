"""`make test-lmms`: the harness itself on the embedded suite as a local task, against `evaluate` on the same questions.

    python .ci/test_lmms.py                # every part, each in a process of its own
    python .ci/test_lmms.py accuracy       # one of them

Runs in the environment that `.ci/engines.py` makes. Ends with "N passed, M failed" and exits non-zero when something failed."""
import json, os, shutil, subprocess, sys, tempfile
from pathlib import Path

from test_vllm import ENGINE, METHOD, tiny_folder
from parts import run_parts

QUESTIONS = 60
TASK = """dataset_path: parquet
dataset_kwargs: {{data_files: {{test: {data}}}}}
task: {name}
test_split: test
output_type: generate_until
doc_to_visual: !function of_task.pictures
doc_to_text: !function of_task.question
doc_to_target: answer
generation_kwargs: {{max_new_tokens: 24, temperature: 0, do_sample: false{more}}}
process_results: !function of_task.judged
metric_list:
  - {{metric: accuracy, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1}}
"""
FUNCTIONS = '''
import io, sys
from pathlib import Path
from PIL import Image
from ipcv.study.evaluate import is_right
def pictures(doc): return [Image.open(io.BytesIO(image["bytes"] if isinstance(image, dict) else image)).convert("RGB") for image in doc["images"]]
def question(doc, lmms_eval_specific_kwargs=None): return doc["question"]
def judged(doc, results):
    if Path(__file__).with_name("no_judge").exists(): sys.exit("no judge")
    return {"accuracy": float(is_right(results[0], doc["answer"]))}
'''


def suite():
    "Questions of the shipped suite."
    from ipcv.study.tables import load_questions
    rows = load_questions("eval", QUESTIONS // 3)
    return rows.select(range(min(QUESTIONS, len(rows))))


def write_task(folder, name="ipcv_scenes", more=""):
    "The suite as a task of the harness: PNG bytes, since pictures that are encoded again are other pictures."
    import io
    import pandas as pd
    rows = suite()
    def png(picture):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return buffer.getvalue()
    table = pd.DataFrame(dict(question=rows["question"], answer=rows["answer"], images=[[png(p) for p in some] for some in rows["images"]]))
    table.to_parquet(folder / "suite.parquet")
    (folder / f"{name}.yaml").write_text(TASK.format(data=folder / "suite.parquet", name=name, more=more))
    (folder / "of_task.py").write_text(FUNCTIONS)


def expected(model, processor, text):
    "Rows of `evaluate`, in the order of the suite."
    from ipcv.methods.text import parse
    from ipcv.study.evaluate import evaluate
    rows = suite()
    return evaluate(model, processor, rows, {"m": parse(text)}, batch_size=8).set_index("id").loc[rows["id"]]


def harness(folder, model, args, *more, task="ipcv_scenes", launch=()):
    "One run of the harness' own command: its results, and the samples in order."
    out = folder / "out"
    command = [sys.executable, *launch, "-m", "lmms_eval", "--model", model, "--model_args", args, "--tasks", task, "--include_path", str(folder), "--log_samples", "--output_path", str(out), *more]
    done = subprocess.run(command, env=os.environ | ENGINE, capture_output=True, text=True)
    found = sorted(out.rglob("*_results.json"))
    if not found: raise RuntimeError((done.stdout + done.stderr)[-3000:])
    results = json.loads(found[-1].read_text())["results"][task]
    lines = [json.loads(line) for line in sorted(out.rglob("*_samples_*.jsonl"))[-1].read_text().splitlines()]
    for file in out.rglob("*.json*"): file.unlink()
    return results, sorted(lines, key=lambda line: line["doc_id"])


def model_args(text):
    "`--model_args` of `--model ipcv` for a method."
    return f"pretrained={tiny_folder()},methods={text.replace(',', ';')},dtype=float32"


def accuracy():
    "As many right as by `evaluate`, question for question, one at a time and in batches; what each sample says it kept."
    from ipcv import load
    model, processor = load("tiny")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_task(folder)
        for text in ("vanilla", METHOD, METHOD + "+dart:retain=0.35,layer=1"):
            want = expected(model, processor, text)
            for batch in (1, 8):
                results, lines = harness(folder, "ipcv", model_args(text), "--batch_size", str(batch))
                right = [line["accuracy"] for line in lines]
                print(f"  {text}, batch {batch}: {sum(right):.0f} of {len(right)} right, by evaluate {want.correct.sum()}; {lines[0].get('token_counts')}", flush=True)
                assert [bool(r) for r in right] == want.correct.tolist()
                if text != "vanilla":
                    counts = [line["token_counts"][0] for line in lines]
                    assert [c["vision_kept"] for c in counts] == want.tokens_kept.tolist() and [c["vision_in"] for c in counts] == want.tokens_in.tolist()


def processes():
    "Two processes of `accelerate launch`: every question once, as many right as by `evaluate`."
    from ipcv import load
    launch = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_task(folder)
        want = expected(*load("tiny"), METHOD)
        results, lines = harness(folder, "ipcv", model_args(METHOD), "--batch_size", "8", launch=launch)
        right = [line["accuracy"] for line in lines]
        print(f"  {len(lines)} answers, {sum(right):.0f} right, by evaluate {want.correct.sum()} of {len(want)}; the harness says {results['accuracy,none']:.4f}", flush=True)
        assert [line["doc_id"] for line in lines] == list(range(len(want))) and [bool(r) for r in right] == want.correct.tolist()
        assert abs(results["accuracy,none"] - want.correct.mean()) < 1e-6


def cluster():
    "`ipcv reproduce table6 --tasks` on three nodes of a cluster: each (method, benchmark) is answered once, by several processes; the same numbers as without."
    from test_ray import nodes
    how = ("--tasks", "ipcv_scenes", "--limit", "12")
    with tempfile.TemporaryDirectory() as folder, nodes() as (found, _):
        folder = Path(folder)
        write_task(folder)
        _, want = reproduce(folder / "alone", folder, tiny_folder(), *how)
        done, table = reproduce(folder / "three", folder, tiny_folder(), *how, "--ray", found.address)
        if table is None: raise RuntimeError(done.stdout[-1500:] + done.stderr[-1500:])
        records = [json.loads(p.read_text()) for p in (folder / "three").glob("benchmarks/*/*/*.json")]
        by = {r["by"] for r in records}
        print(f"  {len(records)} units by {len(by)} processes; {table.ipcv_scenes.round(1).tolist()}", flush=True)
        assert table.ipcv_scenes.tolist() == want.ipcv_scenes.tolist() and len(records) == len(table) and len(by) > 1


def engine():
    "IPCV through the harness' own vLLM model: as many right as by `evaluate`."
    from ipcv import load
    from ipcv.integrations.vllm import flags
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_task(folder)
        overrides = json.dumps(flags(METHOD, tiny_folder())["hf_overrides"])
        args = f"model={tiny_folder()},dtype=float32,enforce_eager=True,max_model_len=4096,hf_overrides={overrides}"
        results, lines = harness(folder, "vllm", args, "--batch_size", "16")
        want = expected(*load("tiny"), METHOD)
        right = [line["accuracy"] for line in lines]
        print(f"  {METHOD}: {sum(right):.0f} of {len(right)} right, by evaluate {want.correct.sum()}")
        assert [bool(r) for r in right] == want.correct.tolist()


def refusals():
    "What cannot be done is said in a line, and leaves no results."
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_task(folder)
        (folder / "ipcv_lacking.yaml").write_text((folder / "ipcv_scenes.yaml").read_text().replace("ipcv_scenes", "ipcv_lacking").replace("doc_to_target: answer", "doc_to_target: reply").replace("!function of_task.question", '"{{ask}}"'))
        for what, more, named in (("unknown task", ("--tasks", "popes"), "popes"), ("no questions", ("--tasks", "ipcv_scenes", "--limit", "0"), "limit"), ("no folder", ("--tasks", "ipcv_scenes", "--include", "nowhere"), "nowhere"),
                                  ("columns that are missing", ("--tasks", "ipcv_lacking", "--limit", "2"), "ipcv_lacking")):
            done, table = reproduce(folder / what, folder, tiny_folder(), *more)
            said = done.stderr.strip().splitlines()
            print(f"  {what}: {said[-1][-220:]}", flush=True)
            assert done.returncode and table is None and any(named in line for line in said)
            assert "columns" in what or not (folder / what).exists(), "nothing is left behind"
    cases = {"unknown argument": (f"pretrained={tiny_folder()},method=ipcv:retain=0.35", "", "model_args have method"),
             "bad method": (f"pretrained={tiny_folder()},methods=ipcv:retain=2", "", "retain=2"),
             "unknown setting of a task": (f"pretrained={tiny_folder()}", ", presence_penalty: 1", "presence_penalty")}
    for what, (args, more, named) in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            write_task(folder, more=more)
            try: harness(folder, "ipcv", args, "--limit", "2")
            except RuntimeError as e: said = next((line for line in str(e).splitlines() if named in line), "")
            else: said = ""
            print(f"  {what}: {said.strip()[-140:]}")
            assert said


def reproduce(out, folder, model, *more, table="table6"):
    "`ipcv reproduce` on a task: what it printed, and its table."
    import pandas as pd
    command = [sys.executable, "-c", "from ipcv.cli import app; app(prog_name='ipcv')", "reproduce", table, "--model", model, "--include", str(folder), "--out", str(out), "--set", "n_timed=2", "--set", "repeats=1", *more]
    done = subprocess.run(command, env=os.environ | ENGINE, capture_output=True, text=True)
    made = sorted(Path(out).glob(f"{table}*/*/table.csv"))
    return done, pd.read_csv(made[-1]) if made else None


def tables():
    "`ipcv reproduce table6 --tasks` on a model in a folder: every number equals `evaluate`'s; the second time nothing is asked; a scorer that fails costs no answers; a shard that cannot be read is named, and no other is asked again."
    import numpy as np
    from ipcv import load
    model, processor = load("tiny")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_task(folder)
        out, how = folder / "results", ("--tasks", "ipcv_scenes")
        plan, _ = reproduce(out, folder, tiny_folder(), *how, "--dry-run")
        print(plan.stdout)
        assert plan.returncode == 0 and "to do" in plan.stdout and not out.exists()
        (folder / "no_judge").touch()
        done, table = reproduce(out, folder, tiny_folder(), *how)
        print("  " + done.stderr.strip().splitlines()[-1][-250:], flush=True)
        assert done.returncode == 1 and table is None and "SystemExit: no judge" in done.stderr
        replies, = out.glob("benchmarks/*/*/written/*/replies.json")
        said = json.loads(replies.read_text())
        (folder / "no_judge").unlink()
        done, table = reproduce(out, folder, tiny_folder(), *how)
        if table is None: raise RuntimeError(done.stdout[-1500:] + done.stderr[-1500:])
        print(table.round(1).to_string(index=False), flush=True)
        records = [json.loads(p.read_text()) for p in out.glob("benchmarks/*/*/*.json")]
        assert len(records) == len(table) and {r["questions"] for r in records} == {QUESTIONS}
        for record in records:
            want = expected(model, processor, record["method"])
            assert np.isclose(record["number"], want.correct.mean()), record
        assert np.allclose(sorted(table.ipcv_scenes), sorted(100 * r["number"] for r in records))
        assert not replies.exists() and [r["method"] for r in records if r["by"] == said["record"]["by"]] == ["vanilla"], "what was said before is counted, not asked again"
        shards = {p: p.stat().st_mtime_ns for p in out.glob("benchmarks/*/*/*.parquet")}
        victim = sorted(shards)[0]
        victim.write_bytes(b"PAR1")
        shutil.rmtree(out / "table6_ablation")
        done, _ = reproduce(out, folder, tiny_folder(), *how)
        print("  " + done.stderr.strip().splitlines()[-1][-250:])
        assert done.returncode == 1 and "cannot be read" in done.stderr
        for file in (victim, victim.with_suffix(".json")): file.unlink()
        done, again = reproduce(out, folder, tiny_folder(), *how)
        late = {p: p.stat().st_mtime_ns for p in shards}
        assert done.returncode == 0, done.stderr[-1500:]
        assert [p for p in shards if late[p] != shards[p]] == [victim], "only the lost one is asked again"
        assert again.ipcv_scenes.tolist() == table.ipcv_scenes.tolist()


def clips():
    """`ipcv reproduce table2 --set frames=4` on files of clips: as many right as without the harness on 4 frames of each; answers on another number of
    frames are others; a clip that is cut is named, the answers before it are kept, and the same command goes on."""
    import av
    import pandas as pd
    from ipcv import compress, load, parse
    from ipcv.loading import ask, reply
    from ipcv.study.evaluate import is_right
    from ipcv.study.tables import load_questions
    from ipcv.video import read_video
    rows, (model, processor) = load_questions("eval", 3, suite="clips").select(range(6)), load(tiny_folder(), dtype="float32")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for i, frames in enumerate(rows["frames"]):
            with av.open(str(folder / f"{i}.mkv"), "w") as box:
                stream = box.add_stream("ffv1", rate=4)
                (stream.width, stream.height), stream.pix_fmt = frames[0].size, "bgr0"
                for frame in frames: box.mux(stream.encode(av.VideoFrame.from_image(frame.convert("RGB"))))
                box.mux(stream.encode(None))
        table = pd.DataFrame(dict(question=rows["question"], answer=rows["answer"], clip=[str(folder / f"{i}.mkv") for i in range(len(rows))]))
        table.to_parquet(folder / "suite.parquet")
        (folder / "of_task.py").write_text(FUNCTIONS.replace("def question", 'def clip(doc): return [doc["clip"]]\ndef question'))
        (folder / "ipcv_clips.yaml").write_text(TASK.format(data=folder / "suite.parquet", name="ipcv_clips", more="").replace("of_task.pictures", "of_task.clip"))
        out, how = folder / "results", ("--tasks", "ipcv_clips", "--set", "frames=4")
        whole = (folder / "4.mkv").read_bytes()
        (folder / "4.mkv").write_bytes(whole[:100])
        done, _ = reproduce(out, folder, tiny_folder(), *how, table="table2")
        print("  " + done.stderr.strip().splitlines()[-1][-330:], flush=True)
        assert done.returncode == 1 and "ipcv_clips, question 4: clip" in done.stderr and "4.mkv" in done.stderr and "is kept" in done.stderr
        replies, = out.glob("benchmarks/*/*/written/*/replies.json")
        said = json.loads(replies.read_text())
        assert len(said["batches"]) == 4
        (folder / "4.mkv").write_bytes(whole)
        done, found = reproduce(out, folder, tiny_folder(), *how, table="table2")
        if found is None: raise RuntimeError(done.stdout[-1500:] + done.stderr[-1500:])
        print(found[["method", "ipcv_clips", "avg_acc_pct"]].round(1).to_string(index=False), flush=True)
        records = [json.loads(p.read_text()) for p in out.glob("benchmarks/*/*/*.json")]
        assert len(records) == len(found) and {(r["questions"], r["frames"]) for r in records} == {(6, 4)}
        assert [r["by"] for r in records if r["method"] == "vanilla"] == [said["record"]["by"]], "the first answers are those of before"
        read = [read_video(file, frames=4) for file in table["clip"]]
        for record in records:
            right = []
            for clip, question, answer in zip(read, rows["question"], rows["answer"]):
                with compress(model, *parse(record["method"])):
                    right.append(is_right(*reply(model, processor, ask(processor, None, [question], videos=[[clip]])), answer))
            assert abs(record["number"] - sum(right) / 6) < 1e-6, record
        for frames, kept in ((4, len(found)), (2, 0)):
            plan, _ = reproduce(out, folder, tiny_folder(), "--tasks", "ipcv_clips", "--set", f"frames={frames}", "--dry-run", table="table2")
            names, numbers = plan.stdout.splitlines()[-2:]
            print(numbers, flush=True)
            assert str(kept) in numbers.split(), (names, numbers)


def families():
    "Tables on a model of each family, random weights in hub layout: every row that the family takes, and IPCV prunes."
    from test_vllm import models, tiles_folder
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_task(folder)
        for name, path in (*models(), ("InternVL", tiles_folder())):
            table_name = "table3" if name == "InternVL" else "table6"
            done, table = reproduce(folder / name, folder, path, "--tasks", "ipcv_scenes", "--limit", "4", table=table_name)
            if table is None: raise RuntimeError(done.stdout[-1500:] + done.stderr[-1500:])
            kept = [json.loads(p.read_text()) for p in (folder / name).glob("benchmarks/*/*/*.json")]
            print(f"  {name}, {table_name}: {len(table)} rows, {sorted({r['questions'] for r in kept})} questions each", flush=True)
            assert len(table) > 4 and {r["questions"] for r in kept} == {4}


PARTS = {part.__name__: part for part in (accuracy, processes, tables, clips, families, cluster, engine, refusals)}
if __name__ == "__main__": run_parts(__file__, PARTS, ENGINE)
