"Module names of version 0.1, for one release: `import ipcv.stats` still works and warns with the new name."
import sys
import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec

MOVED = {  # old module of ipcv -> where its names are now
    "ablations": ["study.ablations"], "bench": ["measure.bench"], "evaluate": ["study.evaluate", "methods.text"],
    "core": ["tokens", "costs", "hooks", "methods.base"], "graphs": ["runtime.replay"],
    "decoder": ["language.packing", "language.cache", "language.prompt", "language.drop", "methods.language"],
    "meters": ["measure.flops", "measure.profile", "measure.memory", "measure.environment", "families.registry"],
    "ngr": ["ops.ngr"], "reintegration": ["ops.reintegration"], "reproduce": ["study.reproduce"],
    "scoring": ["ops.scoring"], "shortening": ["methods.shortening", "ops.merging"], "stabilization": ["ops.stabilization"],
    "stats": ["measure.stats"], "testbed": ["study.suite"], "theory": ["study.theory"],
    "towers": ["families.base", "families.attention", "families.registry", "families.qwen2_vl"], "training": ["study.training"],
}


class OldNames:
    "Finds and loads the old modules: each is empty, and looks its names up in the new ones."
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        package, _, old = fullname.rpartition(".")
        if package != "ipcv": return None
        if old == "compress": raise ImportError("ipcv.compress is a function now: write `from ipcv import compress, parse`")
        return ModuleSpec(fullname, cls) if old in MOVED else None

    @staticmethod
    def create_module(spec): return None

    @staticmethod
    def exec_module(module):
        homes = [f"ipcv.{name}" for name in MOVED[module.__name__.rpartition(".")[2]]]
        warnings.warn(f"{module.__name__} is now {' and '.join(homes)}; the old name goes away in the next release",
                      DeprecationWarning, stacklevel=2)

        def lookup(name):
            found = next((m for m in map(import_module, homes) if hasattr(m, name)), None)
            if found is not None: return getattr(found, name)
            kind = AttributeError if name.startswith("__") else ImportError # `from ... import` hides an AttributeError
            raise kind(f"{module.__name__} has no {name!r}; its names are now in {', '.join(homes)}")
        module.__getattr__ = lookup


def install():
    "Look for old names after everything else has been tried."
    if OldNames not in sys.meta_path: sys.meta_path.append(OldNames)
