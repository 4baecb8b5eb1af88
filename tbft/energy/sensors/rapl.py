"""RAPL: the energy counters of Intel and AMD processors, read from /sys/class/powercap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tbft.energy.sensors.source import Part, PlausibleWatts, SensorFault
from tbft.energy.sensors.sysfs import numbered, read_number, read_text

_WRAPS_NEAR_THE_TOP = 0.8
"""A counter that falls from above this share of its range has wrapped around; from below, it was reset."""


@dataclass
class Zone:
    """One counter.

    Attributes:
        energy_file: File of the counter, in microjoules.
        range_joules: Joules at which the counter wraps around to 0.
        last: Last reading, in joules.
        turns_joules: Joules counted before the last wrap-around.
    """

    energy_file: Path
    range_joules: float
    last: float
    turns_joules: float = 0.0

    def joules(self) -> float:
        """Return the joules since some fixed moment; they go on rising when the counter wraps around.

        Raises:
            SensorFault: If the counter cannot be read, or was reset.
        """
        now = read_number(self.energy_file) * 1e-6
        if now < self.last:
            if self.last < _WRAPS_NEAR_THE_TOP * self.range_joules:
                raise SensorFault(f"{self.energy_file} went back from {self.last:.0f} J to {now:.0f} J")
            self.turns_joules += self.range_joules
        self.last = now
        return self.turns_joules + now


class RaplSource:
    """A power source that adds up the counters of all processor packages (`cpu`) or of their memory (`ram`)."""

    name = "rapl"
    unit: Literal["watts", "joules"] = "joules"
    measured = True
    resolution_seconds = 1e-3
    sample_seconds = 0.0
    instant = True
    note = ""

    def __init__(self, covers: Part, zones: list[Zone]) -> None:
        self.covers = covers
        self._zones = zones
        self.plausible = PlausibleWatts(0.01 * len(zones), 1500.0 * len(zones))

    def read(self) -> float:
        """Return the joules of all counters so far.

        Raises:
            SensorFault: If a counter cannot be read, or was reset.
        """
        return sum(zone.joules() for zone in self._zones)


def zone_folders(sysfs: Path, kind: str) -> list[Path]:
    """Return the folders of all counters of a kind, readable or not.

    The memory-mapped twin of the package counter (`intel-rapl-mmio`) is left out, because it counts the same joules.

    Args:
        sysfs: The folder /sys, or a stand-in for it.
        kind: Beginning of the zone's name: `package` or `dram`.
    """
    powercap = sysfs / "class" / "powercap"
    folders: dict[str, Path] = {}
    for folder in numbered(powercap, "intel-rapl:*") + numbered(powercap, "intel-rapl:*/intel-rapl:*"):
        if (read_text(folder / "name") or "").startswith(kind):
            folders.setdefault(folder.name, folder)
    return list(folders.values())


def find(sysfs: Path) -> list[RaplSource]:
    """Return the sources with readable counters, packages before memory; empty without permission.

    Args:
        sysfs: The folder /sys, or a stand-in for it.
    """
    sources = []
    wanted: tuple[tuple[Part, str], ...] = (("cpu", "package"), ("ram", "dram"))
    for covers, kind in wanted:
        try:
            zones = [
                Zone(
                    folder / "energy_uj",
                    read_number(folder / "max_energy_range_uj") * 1e-6,
                    read_number(folder / "energy_uj") * 1e-6,
                )
                for folder in zone_folders(sysfs, kind)
            ]
        except SensorFault:
            continue  # the other packages' counters alone would be only a part of the energy
        if zones:
            sources.append(RaplSource(covers, zones))
    return sources
