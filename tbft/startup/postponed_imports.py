"""Packages are used without the parts that they import for a type check: the compiler, matplotlib, pandas, and others.

While Lightning is imported, it asks ``torch._dynamo`` for a type and two functions, and ``torch.utils.flop_counter``,
which imports Triton, for a counter of operations. ``torchmetrics`` gives ``scipy.signal`` a name that other packages
miss, asks matplotlib for the types and the style of its plots, and torchvision for a network of one metric. Weights &
Biases asks pandas whether a picture is a table, and its job queue for inputs that nobody has staged. No command
compiles a network, counts its operations by Lightning, filters a sound, plots a metric, logs a table or queues a job:
without these imports a whole ``fit`` takes less than ``import lightning.pytorch.cli`` with them
(``notebooks/startup.py``).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

Asked = Mapping[str, Mapping[str, Any]]
"""By module: what is asked of it, and what answers in its place."""


def _type_of(module: str, name: str) -> type:
    """Stands for a type in checks of a type: nothing is of it before its module is imported."""

    class Check(type):
        def __instancecheck__(cls, instance: object) -> bool:
            there = sys.modules.get(module)
            return there is not None and not isinstance(there, _StandIn) and isinstance(instance, getattr(there, name))

    return Check(name, (), {"__module__": module})


class _Later:
    """Stands for a function, or for a class that nobody derives from: its module is imported when it is used."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(self._module), self._name)(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(getattr(importlib.import_module(self._module), self._name), name)


def _context_of(module: str, name: str) -> Callable[..., Any]:
    """Imports the module of a context manager, which may be a function's decorator, when its context is entered."""

    @contextmanager
    def enter(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with getattr(importlib.import_module(module), name)(*args, **kwargs) as entered:
            yield entered

    return enter


def _leave_as_is(function: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Stands for ``torch._dynamo.disable``, which marks what is not to be compiled."""
    return _leave_as_is if function is None else function


class _NoInputs:
    """Stands for the inputs of a job that Weights & Biases queued."""

    def apply(self, run: object) -> None:
        """Give the run nothing."""


class _StandIn(ModuleType):
    """Answers in a module's place; makes way for all real ones when it is asked for anything else."""

    def __init__(self, name: str, answers: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)  # by which others tell whether a package is installed
        self.__path__: list[str] = []  # where nothing is found: see _PartFinder
        self.__dict__.update(answers)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__version__":  # what the import system wants to know of any module
            raise AttributeError(name)
        _make_way()
        return getattr(importlib.import_module(self.__name__), name)


def _make_way() -> None:
    for module in [module for module in list(sys.modules.values()) if isinstance(module, _StandIn)]:
        sys.modules.pop(module.__name__, None)


class _PartFinder(MetaPathFinder):
    """Imports a module inside a package for which a stand-in answers, once all stand-ins have made way."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if not isinstance(sys.modules.get(fullname.rpartition(".")[0]), _StandIn):
            return None
        _make_way()
        importlib.import_module(fullname)
        # Which the import system would find there, and run once more.
        return ModuleSpec(fullname, _Imported(sys.modules.pop(fullname)))


class _Imported(Loader):
    """Hands out a module that is there already, as it is."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the import system has put another in its place


BY_LIGHTNING: Asked = {
    "torch._dynamo": {"OptimizedModule": _type_of("torch._dynamo", "OptimizedModule"), "disable": _leave_as_is},
    "torch._dynamo.utils": {"is_compile_supported": _Later("torch._dynamo.utils", "is_compile_supported")},
    "torch.utils.flop_counter": {"FlopCounterMode": _Later("torch.utils.flop_counter", "FlopCounterMode")},
    "scipy.signal": {"hamming": _Later("scipy.signal.windows", "hamming")},
    "matplotlib": {},
    "matplotlib.axes": {"Axes": _type_of("matplotlib.axes", "Axes")},
    "matplotlib.colors": {"Colormap": _type_of("matplotlib.colors", "Colormap")},
    "matplotlib.pyplot": {
        "Figure": _type_of("matplotlib.figure", "Figure"),
        "style": _StandIn("matplotlib.style", {"context": _context_of("matplotlib.style", "context")}),
    },
    "torchvision": {},
    "torchvision.models": {name: _Later("torchvision.models", name) for name in ("resnet50", "vgg16", "VGG16_Weights")},
    "torchvision.transforms": {},
}
BY_WANDB: Asked = {
    "pandas": {"DataFrame": _type_of("pandas", "DataFrame")},
    "wandb.sdk.launch.inputs.internal": {"StagedLaunchInputs": _NoInputs},
}


@contextmanager
def postponed_imports(asked: Asked) -> Iterator[None]:
    """Within this context some modules are imported only if more is asked of them than is answered in their place.

    Afterwards whoever imports them gets the real ones. A module that is there already, or is not installed, stays as
    it is.

    Args:
        asked: ``BY_LIGHTNING`` while it is imported, ``BY_WANDB`` while it is used.
    """
    placed = {}
    for name, answers in asked.items():
        package, _, part = name.rpartition(".")
        real_package = package in asked and package not in placed  # of which a stand-in would be no attribute
        if name in sys.modules or real_package or find_spec(name.partition(".")[0]) is None:
            continue
        sys.modules[name] = placed[name] = _StandIn(name, answers)
        if package in placed:
            setattr(placed[package], part, placed[name])
    finder = _PartFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name, stand_in in placed.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
