"Training-free compression of the visual side of multimodal LLMs. Names load what they need when they are first used."
__version__ = "0.1.0"

import sys as _sys
from importlib import import_module as _import_module
from types import ModuleType as _ModuleType

_HOME = {  # public name -> module that defines it
    "compress": "compress", "parse": "compress", "Compression": "compress",
    "IPCV": "methods.ipcv", "DARTViT": "methods.dart", "ToMe": "methods.tome", "ToFu": "methods.tofu",
    "RandomViT": "methods.random", "Downsample": "methods.downsample",
    "DART": "methods.dart", "FastV": "methods.fastv", "V2Drop": "methods.v2drop", "SparseVLM": "methods.sparsevlm",
    "RandomLLM": "methods.random",
    "load": "loading",
    "evaluate": "evaluate", "latency": "evaluate",
    "load_suite": "testbed",
}
__all__ = [*_HOME]


def __getattr__(name):
    if name not in _HOME: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__(): return sorted([*globals(), *_HOME])


class _Package(_ModuleType):
    "Importing the submodule `ipcv.compress` must not hide the function of the same name."
    def __setattr__(self, name, value):
        if not (name in _HOME and isinstance(value, _ModuleType)): super().__setattr__(name, value)


_sys.modules[__name__].__class__ = _Package
