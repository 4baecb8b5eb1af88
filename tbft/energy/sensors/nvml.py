"""NVML: energy counters of NVIDIA graphics processors, or power readings where there is no counter."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from tbft.energy.sensors.source import Part, PlausibleWatts, SensorFault

_DEVICE_FILES = ("/dev/nvidiactl", "/dev/dxg")  # Linux; Windows' Linux subsystem


class NvmlSource:
    """A power source that adds up all graphics processors that this process may use."""

    name = "nvml"
    covers: Part = "gpu"
    measured = True
    resolution_seconds = 0.1
    sample_seconds = 0.1
    instant = True

    def __init__(self, library: Any, devices: list[Any]) -> None:
        """Find out whether all devices count energy (Volta and later) or some report only power.

        Args:
            library: The `pynvml` module, initialised.
            devices: NVML handles of the devices.
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
        """Return joules so far, or watts now if a device has no counter.

        Raises:
            SensorFault: If NVML reports an error.
        """
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
    """Return the source of the visible NVIDIA devices in a list, which is empty if there are none.

    Args:
        library: The `pynvml` module or a stand-in for it; None to import it.
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
    """Return whether this machine has a device file of an NVIDIA driver."""
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
    """Return handles of the devices that CUDA_VISIBLE_DEVICES selects by index or by UUID; of all if it is not set."""
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
            break  # CUDA ignores an invalid entry and all that follow; -1 is one, so it hides all devices
    return devices
