"""Target Block Fine-Tuning: low-energy personalization of image classifiers on small devices."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tbft.errors import BadInput, TbftError
from tbft.version import __version__

if TYPE_CHECKING:
    from tbft.diagnosing import diagnose
    from tbft.diagnosis import Diagnosis
    from tbft.personalization import load, personalize
    from tbft.personalized import Model, Personalized

__all__ = [
    "BadInput",
    "Diagnosis",
    "Model",
    "Personalized",
    "TbftError",
    "__version__",
    "diagnose",
    "load",
    "personalize",
]

_FILES = {
    "diagnose": "diagnosing",
    "Diagnosis": "diagnosis",
    "load": "personalization",
    "personalize": "personalization",
    "Model": "personalized",
    "Personalized": "personalized",
}


def __getattr__(name: str) -> Any:
    """Import a public name that needs torch when it is first used."""
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tbft.startup.torch_import import importing_torch

    with importing_torch():
        module = import_module(f"{__name__}.{_FILES[name]}")
    return getattr(module, name)
