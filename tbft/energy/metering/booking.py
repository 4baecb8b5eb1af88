"""Booking: the energy over each stretch of time is added to the phase that was innermost then."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from tbft.energy.metering.machine import Machine
from tbft.energy.metering.phases import PhaseStack, Stretch
from tbft.energy.sensors.source import Part


@dataclass
class Booked:
    """The cost of one phase.

    Attributes:
        joules: Joules by part of the machine; `board` stands for all parts together.
        variance: Variance of the sum of the joules, in J^2, from the limited resolution of the sources.
        wall_seconds: Wall-clock time in the phase.
        cpu_seconds: Processor time in the phase.
        windows: Number of stretches of time in the phase.
        shortest: Length of the shortest of these stretches, in seconds.
    """

    joules: dict[Part, float] = field(default_factory=dict)
    variance: float = 0.0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    windows: int = 0
    shortest: float = math.inf

    @property
    def total(self) -> float:
        """Joules of all parts together."""
        return sum(self.joules.values())

    def add(self, stretch: Stretch, machine: Machine) -> None:
        """Add the cost of one stretch of the phase.

        Args:
            stretch: The stretch of time.
            machine: The machine whose readings give its joules.
        """
        for part, joules in machine.joules(stretch.start, stretch.end).items():
            self.joules[part] = self.joules.get(part, 0.0) + joules
        self.variance += machine.variance(stretch.start, stretch.end)
        self.wall_seconds += stretch.seconds
        self.cpu_seconds += stretch.cpu_seconds
        self.windows += 1
        self.shortest = min(self.shortest, stretch.seconds)


def book(machine: Machine, stretches: Iterable[Stretch]) -> dict[str | None, Booked]:
    """Return the cost of each phase by its name; the key None holds the time outside of all phases."""
    ledger: dict[str | None, Booked] = {}
    for stretch in stretches:
        ledger.setdefault(stretch.phase, Booked()).add(stretch, machine)
    return ledger


class RunningTotal:
    """A running total of the joules by phase, cheap enough to be asked for at every training step.

    A stretch that ends before the last reading of every source is added once and for all. Only newer stretches are
    computed again at each call.
    """

    def __init__(self, machine: Machine, phases: PhaseStack) -> None:
        self._machine, self._phases = machine, phases
        self._settled: dict[str | None, float] = {}
        self._next = 0

    def joules(self, wanted: Iterable[str] | None, now: float) -> float:
        """Return the joules of some phases so far; after the last reading of a source its power is held constant.

        Args:
            wanted: Names of the phases; None for all of them, without the time outside of phases.
            now: The present moment, in seconds on the meter's clock.
        """
        stretches = self._phases.stretches
        settled_until = self._machine.settled_until()
        while self._next < len(stretches) and stretches[self._next].end <= settled_until:
            self._add(self._settled, stretches[self._next])
            self._next += 1
        totals = dict(self._settled)
        for stretch in [*stretches[self._next :], self._phases.open_stretch(now, 0.0)]:
            self._add(totals, stretch)
        if wanted is None:
            return sum(joules for phase, joules in totals.items() if phase is not None)
        return sum(totals.get(phase, 0.0) for phase in frozenset(wanted))

    def _add(self, totals: dict[str | None, float], stretch: Stretch) -> None:
        joules = sum(self._machine.joules(stretch.start, stretch.end).values())
        totals[stretch.phase] = totals.get(stretch.phase, 0.0) + joules
