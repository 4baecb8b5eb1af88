"""Packages are used without the parts that they import for a type check: the compiler, pandas, and others.

While Lightning is imported, ``lightning`` and ``torchvision`` ask ``torch._dynamo`` for a type and two functions, and
``torchmetrics`` gives ``scipy.signal`` a name that other packages miss. Weights & Biases asks pandas whether a picture
is a table, and its job queue for inputs that nobody has staged. No command compiles a network, filters a sound, logs a
table or queues a job: without these imports a whole ``fit`` takes less than ``import lightning.pytorch.cli`` with them
(``notebooks/startup.py``).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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


def _function_of(module: str, name: str) -> Callable[..., Any]:
    """Imports a function's module when it is called."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args, **kwargs)

    return call


def _leave_as_is(function: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Stands for ``torch._dynamo.disable``, which marks what is not to be compiled."""
    return _leave_as_is if function is None else function


class _NoInputs:
    """Stands for the inputs of a job that Weights & Biases queued."""

    def apply(self, run: object) -> None:
        """Give the run nothing."""


BY_LIGHTNING: Asked = {
    "torch._dynamo": {"OptimizedModule": _type_of("torch._dynamo", "OptimizedModule"), "disable": _leave_as_is},
    "torch._dynamo.utils": {"is_compile_supported": _function_of("torch._dynamo.utils", "is_compile_supported")},
    "scipy.signal": {"hamming": _function_of("scipy.signal.windows", "hamming")},
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
        if name not in sys.modules and find_spec(name.partition(".")[0]) is not None:
            sys.modules[name] = placed[name] = _StandIn(name, answers)
    try:
        yield
    finally:
        for name, stand_in in placed.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]


class _StandIn(ModuleType):
    """Answers in a module's place; makes way for all real ones when it is asked for anything else."""

    def __init__(self, name: str, answers: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)  # by which others tell whether a package is installed
        self.__dict__.update(answers)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system wants to know of any module
            raise AttributeError(name)
        for module in [module for module in sys.modules.values() if isinstance(module, _StandIn)]:
            sys.modules.pop(module.__name__, None)
        return getattr(importlib.import_module(self.__name__), name)
