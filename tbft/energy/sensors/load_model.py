"""Models for parts without a sensor: CodeCarbon's load model of the processor, and its constant for the memory.

The processor's formula is CodeCarbon's (external/hardware.py, mode `cpu_load`): watts = W (0.1 + 0.9 load^3),
where W is the thermal design power and load is the share of all hardware threads that were busy. CodeCarbon applies
it to each second; here the seconds are also cut at the edges of the phases, so that each phase is charged for its
own load.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Literal

from tbft.energy.sensors.codecarbon_tables import Processor
from tbft.energy.sensors.cpu_time import machine_busy_seconds
from tbft.energy.sensors.source import Part, PlausibleWatts, SensorFault

_FRESH_SECONDS = 1.0
"""Time over which other programs' load is averaged: the kernel counts it in ticks of 10 ms, too coarse for less."""
_FIRST_SECONDS = 0.2
"""Time after which other programs' load is averaged for the first time."""


class CpuLoadModel:
    """Counter of the processor's modelled joules; each reading adds those of the load since the reading before.

    This process's own time is read exactly at each reading. The load of other programs (and of children that still run)
    is the average of the last full second. The first 0.2 s are counted without it and corrected when they are over; a
    shorter run does not include other programs.
    """

    name = "model:cpu_load"
    covers: Part = "cpu"
    unit: Literal["watts", "joules"] = "joules"
    measured = False
    resolution_seconds = 1e-3
    sample_seconds = 1.0
    instant = True

    def __init__(
        self,
        processor: Processor,
        *,
        threads: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        own_seconds: Callable[[], float] = time.process_time,
        busy_seconds: Callable[[], float] = machine_busy_seconds,
    ) -> None:
        """Take the first readings.

        Args:
            processor: Name and full-load power of the processor.
            threads: Number of the machine's hardware threads; None to ask the operating system.
            clock: A monotonic clock, in seconds.
            own_seconds: A function that returns this process's processor time so far.
            busy_seconds: A function that returns all programs' processor time so far.
        """
        self._watts = processor.watts
        self._threads = threads or os.cpu_count() or 1
        self._clock, self._own, self._busy = clock, own_seconds, busy_seconds
        self.plausible = PlausibleWatts(0.0, math.inf)
        origin = (
            f"the design power of {processor.model} in CodeCarbon's table"
            if processor.known
            else f"4 W for each of {self._threads} threads, CodeCarbon's table not having {processor.model!r}"
        )
        self.note = (
            f"CPU: modelled from the load as {processor.watts:g} W x (0.1 + 0.9 load^3), "
            f"assuming {processor.watts:g} W ({origin}), not measured"
        )
        self._joules = 0.0
        self._others = 0.0
        self._others_window = _FIRST_SECONDS
        self._first: list[tuple[float, float]] | None = []  # own busy threads and seconds, until others are known
        now = clock()
        self._last = (now, own_seconds())
        self._last_busy = (now, self._last[1], busy_seconds())

    def read(self) -> float:
        """Return the modelled joules so far.

        Raises:
            SensorFault: If the machine's load cannot be read.
        """
        try:
            now, own = self._clock(), self._own()
            self._update_others(now, own)
        except (OSError, ImportError) as error:
            raise SensorFault(f"the machine's load cannot be read ({error})") from None
        seconds = now - self._last[0]
        if seconds > 0:
            busy = (own - self._last[1]) / seconds
            self._joules += self._modelled_joules(busy + self._others, seconds)
            if self._first is not None:
                self._first.append((busy, seconds))
            self._last = (now, own)
        return self._joules

    def _modelled_joules(self, busy: float, seconds: float) -> float:
        """Return the joules of a number of busy threads over some seconds."""
        load = min(1.0, max(0.0, busy / self._threads))
        return self._watts * (0.1 + 0.9 * load**3) * seconds

    def _update_others(self, now: float, own: float) -> None:
        """Average the number of threads that other programs keep busy, each time the window has passed."""
        then, own_then, busy_then = self._last_busy
        if now - then >= self._others_window:
            busy = self._busy()
            self._others = max(0.0, (busy - busy_then) - (own - own_then)) / (now - then)
            self._last_busy = (now, own, busy)
            self._others_window = _FRESH_SECONDS
            for busy_before, seconds in self._first or ():
                joules = self._modelled_joules(busy_before + self._others, seconds)
                self._joules += joules - self._modelled_joules(busy_before, seconds)
            self._first = None


class RamModel:
    """CodeCarbon's constant power of the memory, which depends on its size."""

    name = "model:ram_size"
    covers: Part = "ram"
    unit: Literal["watts", "joules"] = "watts"
    measured = False
    resolution_seconds = 1e-3
    sample_seconds = 1.0
    instant = True
    plausible = PlausibleWatts(0.0, math.inf)

    def __init__(self, watts: float, gib: float) -> None:
        """Set the constant.

        Args:
            watts: Power that the memory is assumed to draw, in watts.
            gib: Size of the machine's memory in GiB, for the note.
        """
        self._watts = watts
        self.note = f"RAM: modelled as a constant {watts:g} W for {gib:.1f} GiB (CodeCarbon's figure), not measured"

    def read(self) -> float:
        """Return the constant watts."""
        return self._watts
