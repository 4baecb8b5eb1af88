"""NVML: energy counters, or failing that power readings, of NVIDIA graphics processors."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from tbft.energy.sensors.source import Part, PlausibleWatts, SensorFault

_DEVICE_FILES = ("/dev/nvidiactl", "/dev/dxg")  # Linux; Windows' Linux subsystem


class NvmlSource:
    """All graphics processors that this process may use, added up."""

    name = "nvml"
    covers: Part = "gpu"
    measured = True
    resolution_seconds = 0.1
    sample_seconds = 0.1
    instant = True

    def __init__(self, library: Any, devices: list[Any]) -> None:
        """Finds out whether all devices count energy (Volta and later) or only tell power.

        Args:
            library: The `pynvml` module, initialised.
            devices: NVML handles.
        """
        self._library = library
        self._devices = devices
        self.plausible = PlausibleWatts(0.5 * len(devices), 2000.0 * len(devices))
        self.unit: Literal["watts", "joules"] = "joules"
        self.note = ""
        try:
            self.read()
        except SensorFault:
            self.unit = "watts"
            self.note = "nvml: no energy counter, power sampled"

    def read(self) -> float:
        """Returns joules so far, or watts now where the device has no counter."""
        library = self._library
        ask = (
            library.nvmlDeviceGetTotalEnergyConsumption  # millijoules since the driver was loaded
            if self.unit == "joules"
            else library.nvmlDeviceGetPowerUsage  # milliwatts
        )
        try:
            return sum(ask(device) for device in self._devices) * 1e-3
        except library.NVMLError as error:
            raise SensorFault(f"NVML: {error}") from None


def find(library: Any = None) -> list[NvmlSource]:
    """Returns the source for the visible NVIDIA devices, or nothing where there are none.

    Args:
        library: Stands in for the `pynvml` module.
    """
    library = library or _load()
    if library is None:
        return []
    try:
        library.nvmlInit()
        devices = _visible_devices(library)
        source = NvmlSource(library, devices) if devices else None
        if source is not None:
            source.read()
    except (library.NVMLError, SensorFault):
        return []
    return [source] if source is not None else []


def is_present() -> bool:
    """Returns whether this machine shows an NVIDIA device to its programs."""
    return any(Path(device).exists() for device in _DEVICE_FILES)


def _load() -> ModuleType | None:
    if not is_present():
        return None
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml


def _visible_devices(library: Any) -> list[Any]:
    """Returns handles of the devices that CUDA_VISIBLE_DEVICES leaves, by index or by UUID."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [library.nvmlDeviceGetHandleByIndex(i) for i in range(library.nvmlDeviceGetCount())]
    devices = []
    for name in filter(None, (entry.strip() for entry in chosen.split(","))):
        if name.isdigit():
            devices.append(library.nvmlDeviceGetHandleByIndex(int(name)))
        elif name.startswith(("GPU-", "MIG-")):
            devices.append(library.nvmlDeviceGetHandleByUUID(name))
        else:
            break  # CUDA ignores what follows an invalid entry, and so -1 hides all
    return devices
