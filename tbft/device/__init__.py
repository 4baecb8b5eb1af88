"""Personalization on a device that has numpy, onnxruntime and Pillow, and no torch.

Example:
    >>> import tbft.device
    >>> device = tbft.device.load("pet.pyz")  # doctest: +SKIP
    >>> device.personalize("labelled")["kept"]  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tbft.device.device import Device, load

__all__ = ["Device", "load"]


def __getattr__(name: str) -> Any:
    """Import ``Device`` and ``load``, and numpy with them, on first use: numpy's threads are set before."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tbft.device import device

    return getattr(device, name)
