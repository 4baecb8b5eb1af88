"""The interface of a power source: one sensor, counter or model of the power that a part of the machine draws."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

Part = Literal["board", "cpu", "ram", "gpu"]
"""The part of the machine that a source covers; `board` is everything behind one supply line, with the other three."""

PARTS: tuple[Part, ...] = ("cpu", "ram", "gpu")
"""The parts whose joules are added up where no board sensor covers them all."""


class SensorFault(Exception):  # noqa: N818 - not an error of the program: the run goes on without the reading
    """Raised for a reading that cannot be used; the message says why, in words for the run's record."""


class PlausibleWatts(NamedTuple):
    """The range of possible watts; a reading outside of it is an error (wrong unit, overflow, broken line)."""

    lowest: float
    highest: float


class PowerSource(Protocol):
    """A source of power readings.

    Attributes:
        name: The source's name in the record, such as `hwmon:ina219`, `pmic`, `rapl`, `nvml` or `model:cpu_load`.
        covers: The part of the machine whose power it reads.
        unit: `watts` (power now) or `joules` (a counter that only rises and starts anywhere).
        measured: True for a sensor or counter, False for a model.
        resolution_seconds: Seconds between two changes of the value; shorter stretches of time cannot be told apart.
        sample_seconds: Shortest useful interval between two readings, in seconds; 0 for the meter's own.
        instant: True if a reading returns at once, so that the training thread may take it at the edge of a phase;
            False if it starts a process or may hang.
        plausible: The range of watts that a reading must lie in.
        note: What the reader of a record must know about the source, such as assumptions or loads it misses; or empty.
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
        """Return watts now or joules so far, as `unit` says.

        Raises:
            SensorFault: If the sensor is gone, refuses, hangs, or answers with something else than a number.
        """
        ...
