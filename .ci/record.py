"""`make record`: put the outputs of the last `ipcv reproduce` on the embedded model into experiments/, to be committed.

Outputs go into the source notebooks cell by cell (what papermill injected stays out), tables beside them as CSV."""
import json, shutil, sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
done = 0
for executed in sorted((root / "experiments/results").glob("*/tiny/*.ipynb")):
    source = root / "experiments" / executed.name
    if not source.exists(): continue
    cells = {c["id"]: c for c in json.loads(executed.read_text(encoding="utf-8"))["cells"]}
    nb = json.loads(source.read_text(encoding="utf-8"))
    for cell in nb["cells"]:
        if cell["cell_type"] != "code": continue
        if cell["id"] not in cells or "".join(cells[cell["id"]]["source"]) != "".join(cell["source"]): sys.exit(f"{source.name} has changed since it ran: run it again")
        cell["outputs"] = [o for o in cells[cell["id"]]["outputs"] if o.get("name") != "stderr"]
        cell["execution_count"] = None
        for o in cell["outputs"]:
            if "execution_count" in o: o["execution_count"] = None
    source.write_text(json.dumps(nb, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    table = executed.parent / "table.csv"
    if table.exists(): shutil.copy(table, source.with_suffix(".csv"))
    print(f"{source.relative_to(root)}{' and its table' if table.exists() else ''}")
    done += 1
sys.exit(0 if done else "nothing to record: run `make reproduce` first")
