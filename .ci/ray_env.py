"""Make an environment apart, .venv-ray: Ray beside the packages of .venv, which `make setup` makes.

    python .ci/ray_env.py             # with the version below
    python .ci/ray_env.py 2.50.0      # another Ray"""
import subprocess, sys, time, venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RAY = "2.60.0"


def make(version):
    "The environment, once"
    home, start = ROOT / ".venv-ray", time.time()
    ready = home / ".ready"
    if ready.exists() and ready.read_text() == version: return
    print(f"[ipcv] Making {home.name} with ray {version}, about 0.3 GB and half a minute, once.", flush=True)
    venv.create(home, with_pip=True, clear=True)
    packages = next((home / "lib").glob("python3*")) / "site-packages"
    (packages / "ipcv_environment.pth").write_text(f"{next((ROOT / '.venv/lib').glob('python3*')) / 'site-packages'}\n")
    subprocess.run([home / "bin/python", "-m", "pip", "--disable-pip-version-check", "-qq", "install", f"ray=={version}"], check=True)
    ready.write_text(version)
    print(f"[ipcv]   ready ({time.time() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 2 or sys.argv[1:2] in (["-h"], ["--help"]): sys.exit(__doc__)
    make(sys.argv[1] if sys.argv[1:] else RAY)
