"""Data sets, one a file, and the drifts between source and target domain.

The data sets import torch and Lightning, which a device does not have: each is imported when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tbft.data.breeds import Breeds
    from tbft.data.cifar10 import CIFAR10
    from tbft.data.cifar10c import CIFAR10C
    from tbft.data.digits import Digits
    from tbft.data.domain import DomainData
    from tbft.data.drift import Drift
    from tbft.data.folder import Folder

__all__ = ["CIFAR10", "CIFAR10C", "Breeds", "Digits", "DomainData", "Drift", "Folder"]


def __getattr__(name: str) -> Any:
    """Import a data set's module by the name of its class."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "domain" if name == "DomainData" else name.lower()
    return getattr(import_module(f"{__name__}.{module}"), name)
