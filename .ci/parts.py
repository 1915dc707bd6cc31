"""Environments apart, and parts of a test that each need a process of their own: an engine or a harness is started anew for each."""
import os, subprocess, sys, time, venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def make_once(name, version, what, fill, usage):
    "An environment beside the clone, unless it is there in this version: `fill(home, pip, version)` installs with `pip(*arguments)`."
    if len(sys.argv) > 2 or sys.argv[1:2] in (["-h"], ["--help"]): sys.exit(usage)
    version = sys.argv[1] if sys.argv[1:] else version
    home, start = ROOT / name, time.time()
    ready = home / ".ready"
    if ready.exists() and ready.read_text() == version: return
    print(f"[ipcv] Making {name} with {what.format(version)}, once.", flush=True)
    venv.create(home, with_pip=True, clear=True)
    fill(home, lambda *words: subprocess.run([home / "bin/python", "-m", "pip", "--disable-pip-version-check", "-qq", *words], check=True), version)
    ready.write_text(version)
    print(f"[ipcv]   ready ({time.time() - start:.0f} s)", flush=True)


def packages_of(home):
    "Where an environment's packages lie."
    return next((home / "lib").glob("python3*")) / "site-packages"


def run_parts(file, parts, env, of_part=None):
    "Run the parts that the command line names, or all; ends the process."
    wanted = sys.argv[1:] or list(parts)
    if unknown := [name for name in wanted if name not in parts]: sys.exit(f"{unknown[0]!r} is no part; allowed: {', '.join(parts)}")
    failed, file = 0, Path(file).resolve()
    for name in wanted:
        print(f"{name}: {parts[name].__doc__}", flush=True)
        start = time.time()
        code = f"import sys; sys.path.insert(0, {str(file.parent)!r}); import {file.stem}; {file.stem}.PARTS[{name!r}]()"
        status = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=os.environ | env | (of_part or {}).get(name, {})).returncode
        failed += status != 0
        print(f"{'FAILED' if status else 'ok'} {name} ({time.time() - start:.0f} s)", flush=True)
    print(f"{len(wanted) - failed} passed, {failed} failed")
    sys.exit(bool(failed))
