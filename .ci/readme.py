"""README.md from nbs/index.ipynb and its saved outputs, pictures beside the notebook. `--check` only compares, and looks for wide lines."""
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from traitlets.config import Config

root = Path(__file__).resolve().parent.parent
PICTURES = "nbs/index_files"
WIDEST = 120  # characters of a line that is no row of a table


def readme():
    "The text of README.md and its pictures, a dict of path and bytes"
    hidden = [r"#\|\s*(hide|export|default_exp)"]
    c = Config({"RegexRemovePreprocessor": {"patterns": hidden, "enabled": True},
                "TagRemovePreprocessor": {"remove_input_tags": ["output-only"], "enabled": True}})
    nb = nbformat.read(root / "nbs/index.ipynb", 4)
    for cell in nb.cells:
        if cell.source.startswith("#| echo: false"): cell.metadata["tags"] = ["output-only"]
    nb.metadata["language_info"] = {"name": "python"}  # for the fences
    text, resources = MarkdownExporter(config=c).from_notebook_node(
        nb, {"unique_key": "index", "output_files_dir": PICTURES})
    note = "<!-- Made from nbs/index.ipynb by `make readme`: edit that notebook, not this file. -->\n\n"
    return note + text.strip() + "\n", resources["outputs"]


def differs():
    "Which of the files are not what the notebook gives now"
    text, pictures = readme()
    want = {"README.md": text.encode(), **pictures}
    there = {p.relative_to(root).as_posix() for p in (root / PICTURES).glob("*")} | {"README.md"}
    return sorted(n for n in there | set(want)
                  if not (root / n).exists() or n not in want or (root / n).read_bytes() != want[n])


def wide_lines():
    "Lines of README.md that are hard to read in a terminal or a diff"
    lines = (root / "README.md").read_text(encoding="utf-8").splitlines()
    return [f"README.md:{i}: {len(l)} characters, at most {WIDEST}" for i, l in enumerate(lines, 1)
            if len(l) > WIDEST and not l.startswith(("|", "![", "<!--"))]


if __name__ == "__main__":
    if "--check" in sys.argv:
        if wide := wide_lines(): sys.exit("\n".join(wide) + "\n(wrap them in nbs/index.ipynb, then run `make readme`)")
        if bad := differs(): sys.exit(f"not what nbs/index.ipynb gives: {', '.join(bad)} (run `make readme`)")
    else:
        text, pictures = readme()
        for old in (root / PICTURES).glob("*"): old.unlink()
        (root / "README.md").write_text(text, encoding="utf-8")
        for name, data in pictures.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
        print(f"README.md and {len(pictures)} picture(s) written")
