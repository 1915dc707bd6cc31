"""Everything that pip needs to know stands in settings.ini (nbdev 2); this file only reads it."""
import shutil
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).resolve().parent
config = ConfigParser(delimiters=["="], interpolation=None)
config.read(here / "settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]
NAME = cfg["lib_name"]
LICENSES = {"apache2": "Apache-2.0"}
STATUS = {"1": "1 - Planning", "2": "2 - Pre-Alpha", "3": "3 - Alpha", "4": "4 - Beta", "5": "5 - Production/Stable"}


def data_files(*folders):
    "Every file under these folders of the package, as setuptools wants them"
    return [p.relative_to(here / NAME).as_posix() for f in folders for p in sorted((here / NAME / f).rglob("*"))
            if p.is_file() and "__pycache__" not in p.parts]


class BuildWithExperiments(build_py):
    "Put the experiments and what is recorded of them into the wheel, as `ipcv/experiments`: `ipcv reproduce` works when installed"
    def run(self):
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / NAME / "experiments"
        for pattern in ("*.ipynb", "*.csv", "*/*.csv", "times.json", "evidence/**/*.*"):
            for file in sorted((here / "experiments").glob(pattern)):
                inside = file.relative_to(here / "experiments")
                if inside.parts[0] == "results": continue
                (target / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, target / inside)


minimum = cfg["min_python"]
minors = range(int(minimum.split(".")[1]), 14)
readme = here / "README.md"
setup(
    name=NAME,
    version=cfg["version"],
    description=cfg["description"],
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else cfg["description"],
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    keywords=cfg["keywords"],
    license=LICENSES[cfg["license"]],
    license_files=["LICENSE"],
    classifiers=[f"Development Status :: {STATUS[cfg['status']]}", "Intended Audience :: Science/Research",
                 f"Natural Language :: {cfg['language']}", *(f"Programming Language :: Python :: 3.{m}" for m in minors)],
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: data_files("data", "reported", "models")},
    include_package_data=False,
    python_requires=f">={minimum}",
    install_requires=cfg["requirements"].split(),
    extras_require={**{name: cfg[f"{name}_requirements"].split() for name in ("video", "vllm", "lmms", "ray")},
                    "dev": [*cfg["dev_requirements"].split(), *cfg["video_requirements"].split()]},
    entry_points={"console_scripts": cfg["console_scripts"].split(), "nbdev": [f"{NAME}={NAME}._modidx:d"],
                  "vllm.general_plugins": ["ipcv=ipcv.integrations.vllm:register"],
                  "lmms_eval.models": ["ipcv=ipcv.integrations.lmms:manifests"]},
    cmdclass={"build_py": BuildWithExperiments},
    zip_safe=False,
)
