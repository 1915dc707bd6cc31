"""Parts of a test that each need a process of their own: an engine or a harness is started anew for each."""
import os, subprocess, sys, time
from pathlib import Path


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
