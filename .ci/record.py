"""`make record`: put the outputs of the last `ipcv reproduce --full` on the embedded model into experiments/, to be committed.

Outputs go into the source notebooks cell by cell (what papermill injected stays out), tables beside them as CSV, and the seconds that
experiments took (of both sizes) into experiments/times.json. Results of a reading size, or with other parameters than the notebook's own,
are refused."""
import json, shutil, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "experiments/results"
sys.path.insert(0, str(ROOT))
from ipcv.study.reproduce import changed # noqa: E402


def refuse(source, folder):
    "Stop when a folder holds anything but a complete run of the full size."
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    if run.get("size") != "full":
        sys.exit(f"{folder} is of the {run.get('size', 'unknown')} size: run `make reproduce ARGS=--full`")
    if other := changed(source, run["parameters"]):
        sys.exit(f"{folder} was run with {', '.join(f'{k}={v!r}' for k, v in other.items())}: run `make reproduce ARGS=\"{source.stem} --full --fresh\"`")


def without_counts(output):
    "An output as it is committed."
    return {**output, **({"execution_count": None} if "execution_count" in output else {})}


def record(executed):
    "Put the outputs of one executed notebook into its source, and its table beside it."
    source = ROOT / "experiments" / executed.name
    refuse(source, executed.parent)
    ran = {c["id"]: c for c in json.loads(executed.read_text(encoding="utf-8"))["cells"]}
    nb = json.loads(source.read_text(encoding="utf-8"))
    for cell in nb["cells"]:
        if cell["cell_type"] != "code":
            continue
        if cell["id"] not in ran or "".join(ran[cell["id"]]["source"]) != "".join(cell["source"]):
            sys.exit(f"{source.name} has changed since it ran: run it again")
        cell["outputs"] = [without_counts(o) for o in ran[cell["id"]]["outputs"] if o.get("name") != "stderr"]
        cell["execution_count"] = None
    source.write_text(json.dumps(nb, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    table = executed.parent / "table.csv"
    if table.exists():
        shutil.copy(table, source.with_suffix(".csv"))
    print(f"{source.relative_to(ROOT)}{' and its table' if table.exists() else ''}")


def main():
    executed = [p for p in sorted(RESULTS.glob("*/tiny/*.ipynb")) if (ROOT / "experiments" / p.name).exists()]
    reading = any(RESULTS.glob("*/tiny-reading/run.json"))
    if (RESULTS / "times.json").exists():
        shutil.copy(RESULTS / "times.json", ROOT / "experiments/times.json")
        print("experiments/times.json")
    for notebook in executed:
        record(notebook)
    if not executed:
        sys.exit("nothing to record: " + ("there are only results of the reading size; " if reading else "") + "run `make reproduce ARGS=--full` first")


if __name__ == "__main__":
    main()
