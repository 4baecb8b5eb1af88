"""Data sets with a source and a target domain, their drifts and splits, and images that are given from Python.

The data sets import Lightning; they are imported when they are first used, so that images from Python do not need it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tbft.data.breeds import Breeds
    from tbft.data.cifar10 import CIFAR10
    from tbft.data.cifar10c import CIFAR10C
    from tbft.data.digits import Digits
    from tbft.data.domain import DomainData
    from tbft.data.folder import Folder

__all__ = ["CIFAR10", "CIFAR10C", "Breeds", "Digits", "DomainData", "Folder"]

_FILES = {name: name.lower() for name in __all__} | {"DomainData": "domain"}


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
