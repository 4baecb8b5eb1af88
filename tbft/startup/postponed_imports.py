"""Postpone slow imports that Lightning and Weights & Biases make but no command needs: compiler, matplotlib, pandas.

While Lightning is imported, it takes a type and two functions from ``torch._dynamo``, and a counter of operations from
``torch.utils.flop_counter``, which imports Triton. ``torchmetrics`` sets a name of ``scipy.signal`` that other packages
miss, takes the types and the style of its plots from matplotlib, and the network of one metric from torchvision.
Weights & Biases asks pandas whether a picture is a table, and its job queue for staged inputs. No command compiles a
network, counts its operations by Lightning, filters a sound, plots a metric, logs a table or queues a job: without
these imports a whole ``fit`` takes less than ``import lightning.pytorch.cli`` with them (``notebooks/startup.py``).
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
"""Stand-ins by module name and by the name of the module's attribute that they replace."""


def _type_of(module: str, name: str) -> type:
    """Return a stand-in for a class in ``isinstance``: nothing is an instance until the class's module is imported."""

    class Check(type):
        def __instancecheck__(cls, instance: object) -> bool:
            there = sys.modules.get(module)
            return there is not None and not isinstance(there, _StandIn) and isinstance(instance, getattr(there, name))

    return Check(name, (), {"__module__": module})


class _Later:
    """Stand-in for a function, or a class without subclasses, whose module is imported when it is first used."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(self._module), self._name)(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(getattr(importlib.import_module(self._module), self._name), name)


def _context_of(module: str, name: str) -> Callable[..., Any]:
    """Return a stand-in for a context manager, also usable as a decorator, that imports its module when entered."""

    @contextmanager
    def enter(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with getattr(importlib.import_module(module), name)(*args, **kwargs) as entered:
            yield entered

    return enter


def _leave_as_is(function: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Return a function unchanged: a stand-in for ``torch._dynamo.disable``, which marks what is not compiled."""
    return _leave_as_is if function is None else function


class _NoInputs:
    """Stand-in for the staged inputs of a job that Weights & Biases queues."""

    def apply(self, run: object) -> None:
        """Do nothing: no inputs are staged."""


class _StandIn(ModuleType):
    """A stand-in for a module.

    For an attribute that it lacks, it removes all stand-ins from ``sys.modules`` and imports the real module.

    Args:
        name: the module's name.
        answers: attributes of the stand-in.
    """

    def __init__(self, name: str, answers: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)  # find_spec reads it to tell whether a package is installed
        self.__path__: list[str] = []  # makes it a package; _PartFinder finds its submodules
        self.__dict__.update(answers)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__version__":  # the import system asks every module for these
            raise AttributeError(name)
        _make_way()
        return getattr(importlib.import_module(self.__name__), name)


def _make_way() -> None:
    """Remove all stand-ins from ``sys.modules``."""
    for module in [module for module in list(sys.modules.values()) if isinstance(module, _StandIn)]:
        sys.modules.pop(module.__name__, None)


class _PartFinder(MetaPathFinder):
    """Finds submodules of a package that has a stand-in, by removing all stand-ins and importing the real ones."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if not isinstance(sys.modules.get(fullname.rpartition(".")[0]), _StandIn):
            return None
        _make_way()
        importlib.import_module(fullname)
        # Without pop() the import system would find the module in sys.modules and run it again.
        return ModuleSpec(fullname, _Imported(sys.modules.pop(fullname)))


class _Imported(Loader):
    """A loader that returns a module that is already imported."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the import system has replaced it


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
    """Put stand-ins in place of some modules within this context; other uses of a module import the real one.

    After the context every import gets the real modules. A module that is already imported, or is not installed, gets
    no stand-in.

    Args:
        asked: ``BY_LIGHTNING`` while Lightning is imported, ``BY_WANDB`` while Weights & Biases is used.
    """
    placed = {}
    for name, answers in asked.items():
        package, _, part = name.rpartition(".")
        real_package = package in asked and package not in placed  # a stand-in would not be its attribute
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
