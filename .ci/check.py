"""`make test`: every notebook is one test, then checks of what is generated from them and of the order of layers.

Ends with "N passed, M failed" and exits non-zero when something failed. `check.py 02_ngr 22_viz` runs only these
notebooks, `check.py --checks` only the checks, `check.py --density` counts long lines. Two at a time, one thread each: the same on a laptop and in CI."""
import argparse, atexit, filecmp, os, re, shutil, signal, subprocess, sys, tempfile, threading, time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.process import _children as children
from pathlib import Path

import psutil
from layers import density, layer_faults

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 600  # seconds a test may take
THREADS = {k: "1" for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
ENV = {**os.environ, **THREADS, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
       "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "JUPYTER_PREFER_ENV_PATH": "1"}
IMPORTED = ["nbdev.test", "torch", "transformers.models.auto", "transformers.modeling_utils", "pandas", "matplotlib.pyplot", "scipy.stats", "datasets"]
WHEEL_TEST = """
import importlib, pkgutil, sys, time
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('nbdev', 'fastcore', 'execnb'): raise ImportError(f'ipcv must not need {name}')
sys.meta_path.insert(0, Refuse()); sys.path.insert(0, sys.argv[1])
start = time.perf_counter(); import ipcv; took = time.perf_counter() - start
assert ipcv.__file__.startswith(sys.argv[1]), ipcv.__file__
assert took < 1, f'import ipcv took {took:.2f} s'
heavy = {'torch', 'transformers'} & set(sys.modules)
assert not heavy, f'import ipcv loads {heavy}'
for m in pkgutil.walk_packages(ipcv.__path__, 'ipcv.'): importlib.import_module(m.name)
import warnings
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter('always')
    from ipcv.stats import summarize
    from ipcv.core import Items, Method, wrap
assert ['ipcv.measure.stats' in str(seen[0].message), 'ipcv.tokens' in str(seen[1].message)] == [True, True], seen
assert callable(ipcv.compress), 'importing ipcv.runtime must not hide the function'
try: import ipcv.compress
except ImportError as e: assert 'from ipcv import compress, parse' in str(e)
else: raise AssertionError('ipcv.compress is a function')
"""


def call(*command, **kw):
    "Run a command; its output, and an exception with that output when it fails"
    how = dict(env=ENV, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT) | kw
    try: done = subprocess.run([sys.executable, *map(str, command)], **how)
    except subprocess.TimeoutExpired as e:
        shown = e.stdout.decode(errors="replace") if isinstance(e.stdout, bytes) else e.stdout or ""
        raise RuntimeError(f"{shown}\nstopped after {LIMIT} s") from None
    if done.returncode: raise RuntimeError(done.stdout.strip() or f"exit status {done.returncode}")
    return done.stdout


def copy(tmp):
    "The project without what is built, so that a check changes nothing here"
    skip = shutil.ignore_patterns(".git", ".venv", "results", "__pycache__", "_proc", "_docs", "build", "dist", "*.egg-info")
    return Path(shutil.copytree(ROOT, Path(tmp) / "copy", ignore=skip, symlinks=True))


def same(there, here, pattern):
    "Raise with the names of the files that are not the same in two folders"
    names = {p.relative_to(d).as_posix() for d in (there, here) for p in d.rglob(pattern) if "__pycache__" not in p.parts}
    bad = [n for n in sorted(names) if not ((there / n).exists() and (here / n).exists()
                                            and filecmp.cmp(there / n, here / n, shallow=False))]
    if bad: raise RuntimeError(f"out of date: {', '.join(bad)} (run `make export`)")


def run_notebook(path, log):
    "What a process of its own does: one notebook, by nbdev's own runner; what it prints goes to a file"
    with open(log, "w") as file:
        for stream in (1, 2): os.dup2(file.fileno(), stream)
    os.setsid() # so that it can be ended with all that it has started
    os.chdir(path.parent)
    sys.path[0] = "" # from here on as in an interpreter: processes that a notebook starts know nothing of this file
    del sys.modules["__main__"].__file__
    from nbdev.config import get_config
    from nbdev.test import test_nb
    from ipcv.files import keep_memory
    keep_memory()
    ok, _ = test_nb(path, skip_flags=get_config().tst_flags.split(), basepath=get_config().config_path)
    threading._shutdown() # pools of processes end before processes are waited for, as where an interpreter ends
    atexit._run_exitfuncs()
    sys.exit(not ok)


def notebook(path):
    """One notebook, in a fork of a process that has imported what is slow to import, but nothing of this package.

    All forks begin with the same seed of hashes and the same state of numpy's generator."""
    with tempfile.NamedTemporaryFile("r", suffix=".log", errors="replace") as log:
        process = get_context("forkserver").Process(target=run_notebook, args=(path, log.name))
        process.start()
        children.discard(process) # or another thread's `start` asks how it ended, and the answer is given once
        process.join(LIMIT)
        late = process.is_alive()
        with suppress(ProcessLookupError): os.killpg(process.pid, signal.SIGKILL)
        process.join()
        if late or process.exitcode: raise RuntimeError(log.read().strip() + (f"\nstopped after {LIMIT} s" if late else f"\nexit status {process.exitcode}"))


def exported(tmp):
    "The modules are what the notebooks give"
    to = copy(tmp)
    call("-c", "from nbdev.export import *; from nbdev.doclinks import nbdev_export; nbdev_export.__wrapped__()", cwd=to)
    same(to / "ipcv", ROOT / "ipcv", "*.py")


def clean(tmp):
    "The notebooks carry no execution counts or metadata"
    to = copy(tmp)
    call("-c", "from nbdev.clean import nbdev_clean; nbdev_clean.__wrapped__()", cwd=to)
    same(to / "nbs", ROOT / "nbs", "*.ipynb")


def readme(tmp):
    "README.md is what nbs/index.ipynb gives, in lines that can be read"
    call(ROOT / ".ci/readme.py", "--check")


def wheel(tmp):
    "The wheel holds data and experiments, needs no nbdev, and imports in under a second"
    call("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp, copy(tmp))
    call("-m", "pip", "install", "--quiet", "--no-deps", "--target", f"{tmp}/site", next(Path(tmp).glob("*.whl")))
    site = Path(tmp, "site", "ipcv")
    want = {p.relative_to(ROOT / "ipcv") for p in (ROOT / "ipcv").rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    want |= {p.relative_to(ROOT) for pattern in ("*.ipynb", "*.csv", "evidence/*/*/*.*") for p in (ROOT / "experiments").glob(pattern)}
    if lost := sorted(str(p) for p in want if not (site / p).exists()): raise RuntimeError(f"not in the wheel: {', '.join(lost)}")
    call("-c", WHEEL_TEST, site.parent, cwd=tmp)


def layers(tmp):
    "Modules import only downward, and none but families/ and loading names a family of models"
    if faults := layer_faults(ROOT):
        raise RuntimeError("\n".join(faults))


def sidebar(tmp):
    "The website's sidebar lists every notebook once, and nothing else"
    listed = re.findall(r"- (\w+\.ipynb)", (ROOT / "_quarto.yml").read_text(encoding="utf-8"))
    there = [p.name for p in (ROOT / "nbs").glob("[!_.]*.ipynb")]
    if not (ROOT / "nbs/_quarto.yml").is_symlink(): raise RuntimeError("nbs/_quarto.yml is no link to ../_quarto.yml")
    if sorted(listed) != sorted(there):
        raise RuntimeError(f"in _quarto.yml and not in nbs/, or twice: {sorted((Counter(listed) - Counter(there)).elements())}; "
                           f"in nbs/ and not in _quarto.yml: {sorted(set(there) - set(listed))}")


def paths(tmp):
    "No notebook, table or text holds a path of the machine that it was run on"
    private = re.compile("|".join(["site-packages", "/home/", "/Users/", "/root/", "/tmp/", re.escape(f"{ROOT}/"), re.escape(f"{sys.prefix}/")]))
    files = [p for d in ("nbs", "experiments") for p in (ROOT / d).rglob("*") if p.suffix in (".ipynb", ".csv", ".json", ".jsonl")]
    files = [p for p in files if "results" not in p.parts and ".ipynb_checkpoints" not in p.parts]
    found = [f"{p.relative_to(ROOT)}:{i}: {line.strip()[:120]}" for p in [*files, *ROOT.glob("*.md")]
             for i, line in enumerate(p.read_text(encoding="utf-8").splitlines(), 1) if private.search(line)]
    if found: raise RuntimeError("\n".join(found))


def pictures(tmp):
    "Pictures in notebooks have 256 colours where nobody sees the difference"
    call(ROOT / ".ci/pictures.py", "--check")


def scripts(tmp):
    "What `experiments/gpu_batch.sh` runs and `bench_towers.py` run at their smallest sizes"
    at = {"cwd": tmp, "env": {**ENV, "PYTHONPATH": str(ROOT)}}
    for name, *how in (["bench_selection", "--tokens", 60, "--visual", 40, "--repeats", 1, "--retain", .35], ["bench_matching", "--side", 16, "--repeats", 1],
                       ["bench_neighbours", "--frames", 2, "--patches", 64, "--width", 64], ["bench_products", "--patches", 16, "--repeats", 1, "--retain", .35],
                       ["bench_towers", "LLaVA-1.5", "--rounds", 1], ["gpu_bench", "--small", "--only", "tower-clip"],
                       ["gpu_tests", "--device", "cpu", "--notebooks", "07_replay", "--families", "Qwen2-VL", "--methods", "dart", "--workers", 1]):
        out = ["--out", Path(tmp, name if name.startswith("gpu") else f"{name}.csv")]
        call(ROOT / f"experiments/{name}.py", *how, *out, **at)
        if not out[1].exists(): raise RuntimeError(f"{name}.py wrote nothing")


def attempt(name, test, *args, what=""):
    "Run one test and say how it went"
    start = time.perf_counter()
    try: test(*args); failure = None
    except Exception as e: failure = str(e)
    print(f"  {'FAILED' if failure else 'ok':6}  {name:24} {time.perf_counter() - start:5.0f} s{what and f'  {what}'}", flush=True)
    if failure: print("\n".join(f"      {line}" for line in failure.splitlines()[-60:]), flush=True)
    return name, failure is None


def checked(name, check):
    "Run one of the checks in a folder of its own; its first line says what holds"
    with tempfile.TemporaryDirectory() as tmp: return attempt(name, check, tmp, what=check.__doc__)


def rerun(failed, names):
    "Arguments that run what failed once more: notebooks by name, else the checks"
    return [name for name in failed if name in names] or ["--checks"]


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("notebooks", nargs="*", help="names of notebooks in nbs/, such as 02_ngr (default: all of them and the checks)")
    a.add_argument("--checks", action="store_true", help="only the checks")
    a.add_argument("--workers", type=int, default=2, help="how many run at a time (default: 2)")
    a.add_argument("--density", action="store_true", help="only a table of line lengths; nothing fails")
    args = a.parse_args()
    if args.density:
        print(density(ROOT))
        return
    there = {p.stem: p for p in sorted((ROOT / "nbs").glob("[!_.]*.ipynb"), reverse=True)}  # the longest are last: start there
    if unknown := set(args.notebooks) - set(there):
        a.error(f"no such notebook in nbs/: {', '.join(sorted(unknown))}; allowed are names such as 02_ngr, and none for all")
    names = [] if args.checks else [n for n in there if not args.notebooks or n in args.notebooks]
    checks = [] if args.notebooks else [scripts, exported, clean, readme, wheel, layers, sidebar, paths, pictures]
    parts = [f"{len(some)} {what}{'s' * (len(some) != 1)}" for some, what in ((names, "notebook"), (checks, "check")) if some]
    everything = "; about 10 minutes on two cores" if names and checks else ""
    print(f"[ipcv] runs {' and '.join(parts)}, {args.workers} at a time{everything}", flush=True)
    os.environ.update(ENV)
    get_context("forkserver").set_forkserver_preload(IMPORTED)
    start = time.perf_counter()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    pool = ThreadPoolExecutor(args.workers)
    try:
        jobs = [pool.submit(checked, c.__name__, c) for c in checks[:1]] # the longest of all
        jobs += [pool.submit(attempt, n, notebook, there[n]) for n in names]
        jobs += [pool.submit(checked, c.__name__, c) for c in checks[1:]]
        results = [j.result() for j in jobs]
    except KeyboardInterrupt:
        try:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error): process.kill() # some have ended by themselves
        finally: os._exit(130)
    failed = [n for n, ok in results if not ok]
    again = f"; failed: {', '.join(failed)} (again: `python .ci/check.py {' '.join(rerun(failed, names))}`)" if failed else ""
    print(f"[ipcv] took {time.perf_counter() - start:.0f} s{again}")
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed", flush=True)
    sys.exit(bool(failed) or not results)


if __name__ == "__main__": main()
