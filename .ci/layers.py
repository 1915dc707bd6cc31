"""Where the modules of `ipcv` may reach: the `layers` check of `make test`, and `check.py --density`."""
import ast, io, json, re, tokenize
from pathlib import Path

# From bottom to top; a module imports from its own layer and from those below
ORDER = [("errors", "files", "tokens", "costs", "hooks", "testing"), ("ops",), ("families",), ("language",), ("methods",), ("runtime",), ("loading", "video"), ("viz",),
         ("measure",), ("integrations",), ("study",), ("cli",)]
LAYER = {name: number for number, names in enumerate(ORDER) for name in names}
SHARED = {"base", "language", "shortening", "after_tower", "received"} # of methods/: what a method may import there; `text` imports all of them
FAMILY = re.compile("qwen|internvl|llava|gemma|idefics|smolvlm|glm_?-?[45]|aya_?vision", re.IGNORECASE)
NAMES_A_FAMILY = ("families/", "loading.py", "study/dino.py", "study/batches.py", "study/recipe.py") # the places that may; the last three make models of some
EXAMPLES = [("cli.py", "random:qwen2-vl-7b (or another size)"), # texts for people, what they may type or what the paper measured: (file, part of the text)
            ("study/page.py", "public benchmarks")]


def imports(tree, module):
    "(line, full name) of each module of the package that a tree imports, in functions too."
    package = module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, a.name) for a in node.names if a.name.split(".")[0] == "ipcv")
        elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "ipcv"):
            base = [*package[:len(package) - node.level + 1], *filter(None, [node.module])] if node.level else [node.module]
            yield from ((node.lineno, ".".join([*base, a.name])) for a in node.names)


def module_of(name, modules):
    "The module that a full name belongs to: itself, or what it is defined in."
    while name not in modules and "." in name:
        name = name.rpartition(".")[0]
    return name


def code_words(tree):
    "(line, text) of names and strings of a tree; docstrings are documentation."
    docs = {id(n.body[0].value) for n in ast.walk(tree) if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and n.body and isinstance(n.body[0], ast.Expr)}
    for node in ast.walk(tree):
        for field in ("id", "attr", "name", "arg", "module"):
            if isinstance(value := getattr(node, field, None), str):
                yield getattr(node, "lineno", 0), value
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.lineno, node.value


def circle(graph):
    "The modules of a circle of imports, [] when there is none."
    state, path = {}, []
    def visit(node):
        state[node] = "open"
        path.append(node)
        for target in sorted(graph.get(node, ())):
            if state.get(target) == "open":
                return path[path.index(target):] + [target]
            if target not in state and (found := visit(target)):
                return found
        state[node] = "done"
        path.pop()
        return []
    return next((found for node in sorted(graph) if node not in state and (found := visit(node))), [])


def wrong_import(source, target):
    "What is wrong with an import of one module by another, '' when nothing is."
    (a, *rest), (b, *other) = source.split(".")[1:], target.split(".")[1:] or [""]
    if not b:
        return "imports the package itself" if a != "cli" else ""
    if LAYER[b] > LAYER[a]:
        return f"imports upward, {target}"
    if a == b == "methods" and rest and other:
        inside, outside = rest[0], other[0]
        if inside != "text" and outside not in SHARED:
            return f"imports another method, {target}"
    return ""


def layer_faults(root):
    "What breaks the order of layers in `root/ipcv`, one line each."
    files = {".".join(p.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): p for p in sorted((root / "ipcv").rglob("*.py"))}
    files = {m: p for m, p in files.items() if m != "ipcv" and not m.split(".")[1].startswith("_") and "__pycache__" not in p.parts}
    faults, graph = [], {}
    for module, path in files.items():
        where, tree = path.relative_to(root / "ipcv").as_posix(), ast.parse(path.read_text(encoding="utf-8"))
        if module.split(".")[1] not in LAYER:
            faults.append(f"{where}: no layer has this module")
            continue
        for line, name in imports(tree, module if path.name != "__init__.py" else f"{module}.__init__"):
            target = module_of(name, files)
            if why := wrong_import(module, target):
                faults.append(f"{where}:{line} {why}")
            if target != module:
                graph.setdefault(module, set()).add(target)
        if where.startswith(NAMES_A_FAMILY):
            continue
        for line, text in code_words(tree):
            if FAMILY.search(text) and not any(where == file and part in text for file, part in EXAMPLES):
                faults.append(f"{where}:{line} names a family: {text[:60]!r}")
    if found := circle(graph):
        faults.append("a circle of imports: " + " -> ".join(found))
    return list(dict.fromkeys(faults))


def sources(path):
    "The code of a module, or of each cell of a notebook."
    if path.suffix != ".ipynb":
        return [path.read_text(encoding="utf-8")]
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]


def semicolons(text):
    "Semicolons that join statements; one at the end of a line joins nothing."
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return 0
    ends = tokenize.NEWLINE, tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER
    return sum(t.string == ";" and after.type not in ends for t, after in zip(tokens, tokens[1:]))


def density(root):
    "A table as text: lines, share of long ones, semicolons per thousand, by module, notebook and experiment."
    groups = {"ipcv modules": sorted(p for p in (root / "ipcv").rglob("*.py") if not p.name.startswith("_")),
              "notebooks": sorted((root / "nbs").glob("*.ipynb")), "experiments": sorted((root / "experiments").glob("*.ipynb"))}
    out = [f"{'':42}{'lines':>7}{'>120 %':>8}{'>160 %':>8}{'; per 1000':>12}"]
    def row(name, texts):
        lines = [line for text in texts for line in text.splitlines() if line.strip()]
        n = max(len(lines), 1)
        long = [100 * sum(len(line) > limit for line in lines) / n for limit in (120, 160)]
        joined = 1000 * sum(map(semicolons, texts)) / n
        out.append(f"{name:42}{len(lines):7}{long[0]:8.1f}{long[1]:8.1f}{joined:12.1f}")
    for group, paths in groups.items():
        each = {p.relative_to(root).as_posix(): sources(p) for p in paths}
        row(f"{group} (all)", sum(each.values(), []))
        for name, texts in each.items():
            row("  " + name, texts)
    return "\n".join(out)
