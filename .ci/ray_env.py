"""Make an environment apart, .venv-ray: Ray beside the packages of .venv, which `make setup` makes.

    python .ci/ray_env.py             # with the version below
    python .ci/ray_env.py 2.50.0      # another Ray"""
from parts import ROOT, make_once, packages_of

RAY = "2.60.0"


def fill(home, pip, version):
    "Ray, and a line that adds the packages of .venv"
    (packages_of(home) / "ipcv_environment.pth").write_text(f"{packages_of(ROOT / '.venv')}\n")
    pip("install", f"ray=={version}")


if __name__ == "__main__": make_once(".venv-ray", RAY, "ray {}, about 0.3 GB and half a minute", fill, __doc__)
