"""What a power source is: one sensor, counter or model that tells what a part of the machine draws."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

Part = Literal["board", "cpu", "ram", "gpu"]
"""What a source covers; `board` is everything behind one supply line and contains the other three."""

PARTS: tuple[Part, ...] = ("cpu", "ram", "gpu")
"""The parts that are added up where no board sensor covers them all."""


class SensorFault(Exception):  # noqa: N818 - no error of the program: the run goes on without it
    """A reading that cannot be used; the message says why, in words for the run's record."""


class PlausibleWatts(NamedTuple):
    """The range outside of which a reading is nonsense (wrong unit, overflow, broken line) and not a load."""

    lowest: float
    highest: float


class PowerSource(Protocol):
    """A source of power readings.

    Attributes:
        name: What the record calls it, such as `hwmon:ina219`, `pmic`, `rapl`, `nvml` or `model:cpu_load`.
        covers: The part of the machine whose power it tells.
        unit: `watts` (power now) or `joules` (a counter that only rises; its zero means nothing).
        measured: True for a sensor or counter, False for a model.
        resolution_seconds: How often the value behind the reading changes; shorter windows cannot be told
            apart.
        sample_seconds: Reading more often than this brings nothing (0: as often as the meter likes).
        instant: True if a reading returns at once, so that the training thread may take it at a window's
            edge; False if it starts a process or may hang.
        plausible: The range that a reading must lie in.
        note: What the reader of a record must know about it: assumptions, what it does not see; or empty.
    """

    name: str
    covers: Part
    unit: Literal["watts", "joules"]
    measured: bool
    resolution_seconds: float
    sample_seconds: float
    instant: bool
    plausible: PlausibleWatts
    note: str

    def read(self) -> float:
        """Returns watts now or joules so far, as `unit` says.

        Raises:
            SensorFault: If the sensor is gone, refuses, hangs, or answers what is not a number.
        """
        ...
