"""The energy meter: books the joules, processor seconds and wall-clock seconds of a run to its phases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tbft.energy.metering.booking import Booked, RunningTotal, book
from tbft.energy.metering.codecarbon_beside import CodeCarbonBeside, ram_model
from tbft.energy.metering.conditions import Conditions, void_reason
from tbft.energy.metering.core_use import CoreUse, spinning_note
from tbft.energy.metering.machine import Machine
from tbft.energy.metering.notes import Notes
from tbft.energy.metering.phases import PhaseStack
from tbft.energy.metering.record import by_phase, energy_source, net_joules, power_trace, source_notes, uncertainty
from tbft.energy.metering.sampler import Sampler
from tbft.energy.sensors import codecarbon_tables, nvml
from tbft.energy.sensors.cpu_time import process_cpu_seconds
from tbft.energy.sensors.finder import SYSFS, find_sources, models


class EnergyMeter:
    """Books joules, CPU-seconds and seconds to phases; joules are measured where there is a sensor, else modelled.

    The record says which of the two they are. Joules are those of the whole machine: in a run of several processes,
    only one has a meter.

    Example:
        >>> meter = EnergyMeter(codecarbon=False)
        >>> meter.start()
        >>> with meter.phase("train"):
        ...     _ = sum(range(1000))
        >>> meter.stop()
        >>> meter.record()["energy_source"]["measured"] in (True, False)
        True
    """

    def __init__(
        self,
        *,
        sources: str | Sequence[str] = "auto",
        rail: str | None = None,
        shunt_ohms: float | None = None,
        rate_hz: float = 10.0,
        idle_seconds: float = 0.0,
        country: str = "USA",
        codecarbon: bool = True,
        synchronize: Callable[[], None] | None = None,
        threads: int = 1,
        sysfs: Path = SYSFS,
        vcgencmd: str = "vcgencmd",
        background: bool = True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Set the meter up; nothing is read yet.

        Args:
            sources: `auto`, or the sources to trust, best first (see `find_sources`).
            rail: The rail or shunt to trust (see `find_sources`); None for the sensor's own choice.
            shunt_ohms: True resistance of a hwmon sensor's shunt, in ohms; None if the driver knows it.
            rate_hz: Power readings a second; fewer are taken where they would cost too much.
            idle_seconds: Seconds to watch the machine at rest before and after the run; 0 for not at all.
            country: The country whose electricity is used, as a three-letter ISO code.
            codecarbon: Whether CodeCarbon's tracker runs beside the meter, and its memory model stands in for a sensor.
            synchronize: A function that waits for the accelerator, called at every edge of a phase; None for no wait.
            threads: Number of threads that the run computes with, to judge whether other programs took their cores.
            sysfs: The folder /sys, or a stand-in for it.
            vcgencmd: Name or path of the Raspberry Pi's `vcgencmd`.
            background: Whether a thread takes the readings; without it, the caller takes them with `sample`.
            clock: A function that returns seconds and never goes back, in no thread, such as `time.monotonic`.
            sleep: A function that waits the given seconds.
        """
        self._choice, self._rail, self._shunt_ohms = sources, rail, shunt_ohms
        self._rate_hz, self._idle_seconds = rate_hz, idle_seconds
        self._country, self._codecarbon = country, codecarbon
        self._synchronize = synchronize
        self._sysfs, self._vcgencmd = sysfs, vcgencmd
        self._background, self._now, self._sleep = background, clock, sleep
        self._threads = threads
        self._notes = Notes()
        self._flags_seen = 0
        self._ended: float | None = None
        self._busy_end: CoreUse | None = None
        self._after: dict[str, Any] = {}
        self._idle: dict[str, float] = {}
        self._beside: CodeCarbonBeside | None = None
        self._codecarbon_figures: dict[str, Any] | None = None
        self._started = False

    def start(self) -> None:
        """Find the sources, take first readings, watch the machine at rest if asked for, and start the clock.

        Raises:
            BadInput: If a named source or rail is not there, `shunt_ohms` fits no sensor, or the country is unknown.
        """
        self._grid = codecarbon_tables.grid(self._country)
        found = find_sources(
            self._choice,
            rail=self._rail,
            shunt_ohms=self._shunt_ohms,
            sysfs=self._sysfs,
            vcgencmd=self._vcgencmd,
        )
        processor = codecarbon_tables.processor()
        found += models(processor, ram_model() if self._codecarbon else None, self._now)
        if self._codecarbon and self._grid is not None:
            self._beside = CodeCarbonBeside(self._country, self._grid, processor)
            self._notes.guard(self._beside.start, "CodeCarbon does not run beside")
        if nvml.is_present() and not any(source.covers in ("gpu", "board") for source in found):
            self._notes.add("GPU: an NVIDIA device is there, but its energy is not counted")
        self._conditions = Conditions(self._sysfs, self._vcgencmd)
        self._before = self._conditions.snapshot()
        self._origin = self._now()
        self._machine = Machine(found, self._origin)
        self._sampler = Sampler(self._machine, self._rate_hz, self._now, self._tell, self._watch_throttling)
        self._sampler.sample()
        if self._background:
            self._sampler.start()
        if self._idle_seconds > 0:
            self._idle["before_watts"] = self._watch_idle()
        self._busy_start = CoreUse.now()
        self._sampler.at_edge()
        self._origin = self._now()
        self._phases = PhaseStack(self._origin, process_cpu_seconds())
        self._running = RunningTotal(self._machine, self._phases)
        self._started = True

    def enter(self, phase: str) -> None:
        """Begin a phase within the present one; time and energy go to the innermost phase only."""
        if self._running_now():
            self._phases.enter(phase, *self._edge())

    def leave(self, phase: str) -> None:
        """End a phase, and the phases within it that are still open; a phase that was not entered is noted."""
        if self._running_now() and not self._phases.leave(phase, *self._edge()):
            self._notes.add(f"the phase {phase!r} was left without having been entered")

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Enter a phase for the length of a `with` block."""
        self.enter(name)
        try:
            yield
        finally:
            self.leave(name)

    def sample(self) -> None:
        """Take a reading of every source now; only needed without the background thread."""
        if self._running_now():
            self._sampler.sample()

    def joules_so_far(self, phases: Sequence[str] | None = None) -> float:
        """Return the joules of some phases until now, cheaply: after the last reading the power is held constant.

        Args:
            phases: Names of the phases; None for all.
        """
        if not self._started:
            return 0.0
        with self._sampler.lock:
            return self._running.joules(phases, self._end_or_now())

    def seconds_so_far(self, phases: Sequence[str] | None = None) -> float:
        """Return the wall-clock seconds of some phases until now.

        Args:
            phases: Names of the phases; None for all.
        """
        return self._phases.seconds(phases, self._end_or_now()) if self._started else 0.0

    def stop(self, *, idle: bool = True) -> None:
        """End the run; never raises, and does nothing when called again.

        Args:
            idle: Whether to watch the machine at rest once more, if `idle_seconds` is above 0; an interrupted run has
                no time for it.
        """
        if not self._running_now():
            return
        self._phases.leave_all(*self._edge())
        self._ended = self._now()
        self._notes.guard(lambda: self._finish(idle), "the meter did not end cleanly")

    def record(self) -> dict[str, Any]:
        """Return the run's figures; in a run in progress, those so far.

        Returns:
            `joules`, `joules_net` (None without an idle baseline), `cpu_seconds` and `wall_seconds` by phase,
            with `adaptation` as the sum of the phases in `ADAPTATION`; `joules_by_part`; `joules_uncertainty` and
            `below_resolution` (see `tbft.energy.metering.record.uncertainty`); `outside_phases`; `energy_source` with
            its notes; `co2e_grams` of all phases together (None where the grid is unknown); `idle`; `conditions`
            (see `Conditions.snapshot` and, once the run is over, `CoreUse.since`); `void` (a reason, or None);
            `sampling`, the meter's own cost; and `codecarbon`, CodeCarbon's own figures (None while the run goes on or
            without them).
        """
        end = self._end_or_now()
        stretches = [*self._phases.stretches]
        if self._ended is None:
            stretches.append(self._phases.open_stretch(end, process_cpu_seconds()))
        with self._sampler.lock:
            ledger = book(self._machine, stretches)
            source = energy_source(self._machine, self._origin, end)
            notes = source_notes(self._machine, self._origin, end)
            slowed = self._slowed_notes()
        joules = by_phase(ledger, "total")
        doubt, below = uncertainty(ledger)
        if below:
            notes.append(f"below the source's resolution (joules may be off by more than 2 %): {', '.join(below)}")
        source["notes"] = [*notes, *slowed, *self._notes.sentences]
        load: dict[str, Any] = {}
        if self._busy_end is not None:  # `CoreUse.now` takes milliseconds: not for each checkpoint of a run
            load = self._busy_end.since(self._busy_start, end - self._origin, self._threads)
            if load["cpu_seconds_inflated"]:
                source["notes"].append(spinning_note(load))
        at_rest = sum(self._idle.values()) / len(self._idle) if self._idle else None
        booked = sum(cost.total for phase, cost in ledger.items() if phase is not None)
        outside = ledger.get(None, Booked())
        return {
            "joules": joules,
            "joules_net": None if at_rest is None else net_joules(ledger, at_rest),
            "joules_by_part": {p: dict(cost.joules) for p, cost in ledger.items() if p is not None},
            "joules_uncertainty": doubt,
            "below_resolution": below,
            "outside_phases": {"joules": outside.total, "wall_seconds": outside.wall_seconds},
            "cpu_seconds": by_phase(ledger, "cpu_seconds"),
            "wall_seconds": by_phase(ledger, "wall_seconds"),
            "energy_source": source,
            "co2e_grams": None if self._grid is None else self._grid.grams(booked),
            "idle": dict(self._idle) or None,
            "conditions": {"before": self._before, "after": self._after, **load},
            "void": void_reason(self._before, self._after, self._flags_seen),
            "sampling": {
                "readings": self._sampler.readings,
                "cpu_seconds": self._sampler.cpu_seconds,
                "share_of_core": self._sampler.cpu_seconds / max(end - self._origin, 1e-9),
            },
            "codecarbon": self._codecarbon_figures,
        }

    def trace(self) -> list[tuple[float, float, str | None]]:
        """Return power over time as tuples of seconds since the start, watts of the machine, and the phase then."""
        end = self._end_or_now()
        stretches = [*self._phases.stretches, self._phases.open_stretch(end, 0.0)]
        with self._sampler.lock:
            return power_trace(self._machine, stretches, self._origin, end)

    def _running_now(self) -> bool:
        return self._started and self._ended is None

    def _end_or_now(self) -> float:
        return self._now() if self._ended is None else self._ended

    def _edge(self) -> tuple[float, float]:
        if self._synchronize is not None:
            self._notes.guard(self._synchronize, "the device could not be synchronised")
        self._sampler.at_edge()
        return self._now(), process_cpu_seconds()

    def _watch_idle(self) -> float:
        """Wait `idle_seconds` and return the machine's mean power over them, in watts."""
        start = self._now()
        until = start + self._idle_seconds
        while (left := until - self._now()) > 0:
            self._sleep(min(left, 1.0 / self._rate_hz))
            if not self._background:
                self._sampler.sample()
        end = self._now()
        with self._sampler.lock:
            return sum(self._machine.joules(start, end).values()) / (end - start)

    def _finish(self, idle: bool) -> None:
        self._busy_end = CoreUse.now()
        if idle and self._idle_seconds > 0:
            self._idle["after_watts"] = self._watch_idle()
        if not self._sampler.stop():
            self._notes.add("a source hung in its last reading")
        self._after = self._conditions.snapshot()
        if self._beside is not None:
            self._codecarbon_figures = self._beside.stop()

    def _watch_throttling(self) -> None:
        self._flags_seen |= self._conditions.throttle_flags() or 0

    def _slowed_notes(self) -> list[str]:
        return [
            f"{track.source.name}: {1e3 * pace.cost:.1f} ms of processor time a reading, "
            f"therefore {1 / pace.interval:.1f} and not {self._rate_hz:g} readings a second"
            for track in self._machine.counting()
            if (pace := self._sampler.pace(track)).slowed
        ]

    def _tell(self, moment: float, sentence: str) -> None:
        self._notes.add(f"from {max(0.0, moment - self._origin):.1f} s on: {sentence}")
