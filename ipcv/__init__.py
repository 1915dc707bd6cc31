"Training-free compression of the visual side of multimodal LLMs. Names load what they need when they are first used."
__version__ = "0.2.0"

from importlib import import_module as _import_module
from ._moved import install as _keep_old_names

_HOME = {  # public name -> module that defines it
    "compress": "runtime.compress", "Compression": "runtime.compress", "parse": "methods.text",
    "IPCV": "methods.ipcv", "DARTViT": "methods.dart", "ToMe": "methods.tome", "ToFu": "methods.tofu",
    "RandomViT": "methods.random", "Downsample": "methods.downsample",
    "DART": "methods.dart", "FastV": "methods.fastv", "V2Drop": "methods.v2drop", "SparseVLM": "methods.sparsevlm",
    "RandomLLM": "methods.random",
    "DivPrune": "methods.divprune", "EVS": "methods.evs", "VidCom2": "methods.vidcom2", "CDPruner": "methods.cdpruner",
    "load": "loading",
    "evaluate": "study.evaluate", "latency": "study.evaluate",
    "load_suite": "study.suite",
}
__all__ = [*_HOME]


def __getattr__(name):
    if name not in _HOME: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__(): return sorted([*globals(), *_HOME])


_keep_old_names()
