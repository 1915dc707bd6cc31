"""`make record`: put the outputs of the last `ipcv reproduce --full` on the embedded models into experiments/, to be committed.

Outputs go into the source notebooks cell by cell (what papermill injected stays out), tables beside them as CSV, answers and times into
experiments/evidence/, from which `ipcv reproduce claims` judges what was not run again. What was run on the
other embedded model (`--model tiny-internvl`) goes into a folder of its name: notebooks with their outputs, tables. The seconds that
experiments took (of both sizes) go into experiments/times.json. Results of a reading size, or with other parameters than the notebook's
own, are refused."""
import json, shutil, sys
from pathlib import Path
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENTS, RESULTS = ROOT / "experiments", ROOT / "experiments/results"
EVIDENCE = EXPERIMENTS / "evidence"
sys.path.insert(0, str(ROOT))
from ipcv.loading import EMBEDDED # noqa: E402
from ipcv.study.reproduce import changed, defaults, recorded_at # noqa: E402


def refuse(source, folder):
    "Stop when a folder holds anything but a complete run of the full size."
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    again = source.stem + ("" if run["model"] == defaults(source)["model"] else f" --model {run['model']}")
    if run.get("size") != "full":
        sys.exit(f"{folder} is of the {run.get('size', 'unknown')} size: run `make reproduce ARGS=\"{again} --full\"`")
    if other := changed(source, run["parameters"]):
        sys.exit(f"{folder} was run with {', '.join(f'{k}={v!r}' for k, v in other.items())}: run `make reproduce ARGS=\"{again} --full --fresh\"`")


def without_counts(output):
    "An output as it is committed."
    return {**output, **({"execution_count": None} if "execution_count" in output else {})}


def record(executed):
    "Put the outputs of one executed notebook into its source, or into its copy for another model, and its table beside it."
    source = EXPERIMENTS / executed.name
    refuse(source, executed.parent)
    target = recorded_at(source, executed.parent.name)
    ran = {c["id"]: c for c in json.loads(executed.read_text(encoding="utf-8"))["cells"]}
    nb = json.loads(source.read_text(encoding="utf-8"))
    for cell in nb["cells"]:
        if cell["cell_type"] != "code":
            continue
        if cell["id"] not in ran or "".join(ran[cell["id"]]["source"]) != "".join(cell["source"]):
            sys.exit(f"{source.name} has changed since it ran: run it again")
        cell["outputs"] = [without_counts(o) for o in ran[cell["id"]]["outputs"] if o.get("name") != "stderr"]
        cell["execution_count"] = None
    if target != source:
        of_other_model(nb, source, executed.parent.name)
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(nb, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    table = executed.parent / "table.csv"
    if table.exists():
        shutil.copy(table, target.with_suffix(".csv"))
    kept = keep_evidence(executed.parent)
    print(", ".join([str(target.relative_to(ROOT)), *["its table"] * table.exists(), f"evidence of {kept} kB"]))


def keep_evidence(folder):
    """Copy `run.json`, answers and times of a run, and its parts', to experiments/evidence, without the questions, which the suite holds.
    The right answers stay: they tell which families can be guessed. Returns the size in kB."""
    target = EVIDENCE / folder.parent.name / folder.name
    shutil.rmtree(target, ignore_errors=True)
    files = {p.relative_to(folder): p for name in ("rows.parquet", "times.csv") for p in folder.rglob(name)}
    files |= {p.relative_to(folder): p for p in folder.glob("*/table.csv")}
    for place, file in files.items():
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".parquet":
            rows = pd.read_parquet(file)
            rows.drop(columns=["question", "meta"], errors="ignore").to_parquet(target / place, compression="zstd", index=False)
        else:
            shutil.copy(file, target / place)
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    target.mkdir(parents=True, exist_ok=True)
    (target / "run.json").write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    return sum(p.stat().st_size for p in target.rglob("*") if p.is_file()) // 1000


def of_other_model(nb, source, model):
    "Say in a copy which model it is of, and leave what was seen to the source."
    nb["cells"] = [c for c in nb["cells"] if not "".join(c["source"]).startswith("## What was seen")]
    words = (f"Run on `{model}`: `ipcv reproduce {source.stem} --model {model} --full`. "
             f"What was seen on both models stands in [the notebook itself](../{source.name}).")
    nb["cells"].insert(1, {"cell_type": "markdown", "id": "other-model", "metadata": {}, "source": [words]})
    for cell in nb["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            own = defaults(source)["model"]
            cell["source"] = [line.replace(f'model = "{own}"', f'model = "{model}"') for line in cell["source"]]


def keep_seconds():
    "Put the seconds of this run into experiments/times.json; on the same hardware those of what was not run stay."
    file = EXPERIMENTS / "times.json"
    new = json.loads((RESULTS / "times.json").read_text(encoding="utf-8"))
    old = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if old.get("hardware") == new["hardware"]:
        sizes = [size for size in {**old, **new} if size != "hardware"]
        new = {"hardware": new["hardware"], **{size: {**old.get(size, {}), **new.get(size, {})} for size in sizes}}
    file.write_text(json.dumps(new, indent=1) + "\n", encoding="utf-8")
    print("experiments/times.json")


def main():
    folders = [p for model in EMBEDDED for p in sorted(RESULTS.glob(f"*/{model}/*.ipynb"))]
    executed = [p for p in folders if (EXPERIMENTS / p.name).exists()]
    reading = any(RESULTS.glob("*/*-reading/run.json"))
    if (RESULTS / "times.json").exists():
        keep_seconds()
    for notebook in executed:
        record(notebook)
    if not executed:
        sys.exit("nothing to record: " + ("there are only results of the reading size; " if reading else "") + "run `make reproduce ARGS=--full` first")


if __name__ == "__main__":
    main()
