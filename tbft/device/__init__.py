"""Personalization on a device that has numpy, onnxruntime and Pillow, and no torch.

Example:
    >>> import tbft.device
    >>> device = tbft.device.load("pet.pyz")  # doctest: +SKIP
    >>> device.personalize("labelled")["accuracy"]  # doctest: +SKIP
"""

from tbft.device.device import Device, load

__all__ = ["Device", "load"]
