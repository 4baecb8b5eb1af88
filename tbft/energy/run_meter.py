"""Energy and time of a run, booked to its phases."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from tbft.energy import ADAPTATION, EnergyMeter, find_sources
from tbft.energy.metering.process_cost import ProcessCost
from tbft.energy.sensors import codecarbon_tables
from tbft.errors import BadInput
from tbft.schema import RESUME

log = logging.getLogger(__name__)

BOOKED = ("joules", "cpu_seconds", "wall_seconds")
"""Figures that are booked by phase."""

BUDGETS = ("budget_joules", "budget_seconds")
"""Arguments of ``RunMeter`` that end a run early, and so decide its outcome."""


class RunMeter:
    """Books joules, CPU-seconds and wall-seconds to the phases of a run, with CodeCarbon beside it.

    What a run has cost travels in its checkpoint: the figures of a resumed run, and its budgets, contain those of the
    interrupted part up to that checkpoint.

    Args:
        sources: power sources in order of trust: ``auto``, or names as ``python -m tbft meter`` lists them.
        rail: sensor rail or shunt to trust where a chip has several.
        shunt_ohms: true resistance of a current sensor's shunt, where its driver assumes another.
        rate_hz: samples a second of sensors without a counter.
        idle_seconds: length of the idle baseline before and after the run, in seconds; 0 is none.
        country: ISO code of the country whose carbon intensity of electricity counts.
        codecarbon: estimate CO2e, and what has no sensor, with CodeCarbon (offline).
        budget_joules: training stops when the adaptation has used so much; the best so far is kept. Without a power
            sensor these are modelled joules, which follow the load of the whole machine and are coarse in the first
            second: budget_seconds limits a short run.
        budget_seconds: likewise in seconds of wall time.
        plot: draw power over time, phases marked, when the run is over (about a second, booked to no phase), and the
            climb up the ladder of remedies if there was one.
    """

    def __init__(
        self,
        sources: str | list[str] = "auto",
        rail: str | None = None,
        shunt_ohms: float | None = None,
        rate_hz: float = 10.0,
        idle_seconds: float = 0.0,
        country: str = "USA",
        codecarbon: bool = True,
        budget_joules: float | None = None,
        budget_seconds: float | None = None,
        plot: bool = True,
    ) -> None:
        self.plot = plot
        self.budget_joules, self.budget_seconds = budget_joules, budget_seconds
        self.stopped_by: str | None = None
        self.settings: dict[str, Any] = {
            "sources": sources,
            "rail": rail,
            "shunt_ohms": shunt_ohms,
            "rate_hz": rate_hz,
            "idle_seconds": idle_seconds,
            "country": country,
            "codecarbon": codecarbon,
        }
        self.meter: EnergyMeter | None = None
        self.process = ProcessCost()
        self._metered: dict[str, Any] = {}
        self.open: list[str] = []
        self.earlier: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """What the run has cost so far."""
        record = self._record()
        if not record:
            return {}
        figures = {name: record[name] for name in (*BOOKED, "co2e_grams")}
        return {**figures, "measured": record["energy_source"]["measured"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Count on from what the interrupted part of the run has cost."""
        self.earlier = state_dict

    def check(self) -> None:
        """Find out before the run whether the meter can do what is asked for.

        Raises:
            BadInput: if a named source, rail or country is not there, or a number makes no sense.
        """
        numbers = {**self.settings, "budget_joules": self.budget_joules, "budget_seconds": self.budget_seconds}
        for name in ("rate_hz", "shunt_ohms", *BUDGETS):
            if numbers[name] is not None and not 0 < numbers[name] < math.inf:
                raise BadInput(f"energy.{name} is {numbers[name]:g}: it must be a number above 0")
        if not 0 <= self.settings["idle_seconds"] < math.inf:
            raise BadInput(f"energy.idle_seconds is {self.settings['idle_seconds']:g}: give 0 (none) or a length")
        codecarbon_tables.grid(self.settings["country"])
        asked = {name: self.settings[name] for name in ("rail", "shunt_ohms")}
        if self.settings["sources"] != "auto" or any(value is not None for value in asked.values()):
            find_sources(self.settings["sources"], **asked)

    def start(self, *, threads: int = 1, synchronize: Callable[[], None] | None = None) -> None:
        """Warm the sources up and start the meter, once; the run begins here.

        Args:
            threads: that compute, for the judgement of CPU-seconds beside other load.
            synchronize: waits for the accelerator.
        """
        self.process.begin()
        if self.meter is None:
            meter = EnergyMeter(synchronize=synchronize, threads=threads, **self.settings)
            meter.start()  # one that fails here has nothing to record, and its own reason counts
            self.meter = meter

    @property
    def peak_rss_mib(self) -> float:
        """Peak resident memory in MiB of the adaptation, which ends where testing begins."""
        return self.process.peak_rss_mib()

    def enter(self, name: str) -> None:
        """Book to this phase from now on."""
        if self.meter is not None:
            self.meter.enter(name)
            self.open.append(name)

    def leave(self) -> None:
        """End the innermost phase: book to the one around it again."""
        if self.meter is not None and self.open:
            self.meter.leave(self.open.pop())

    def finish(self, *, idle: bool = True) -> dict[str, Any]:
        """End what is open, stop the meter and return its record (empty if it never ran).

        Args:
            idle: watch the machine at rest once more, if that was asked for.
        """
        while self.open:
            self.leave()
        if self.meter is None:
            return {}
        self.meter.stop(idle=idle)
        self._metered = self._record()
        return {**self._metered, "stopped_by": self.stopped_by}

    def process_record(self, reading_test: tuple[float, float] = (0.0, 0.0)) -> dict[str, Any]:
        """What the process has cost until now, once the meter has stopped (see ``ProcessCost.record``).

        Args:
            reading_test: CPU-seconds and seconds that reading the test images took before the run.
        """
        if self.earlier:  # the process that was interrupted cannot be asked any more
            return {**self.process.record(), "since": RESUME}
        return self.process.record(self._metered, reading_test=reading_test)

    def _record(self) -> dict[str, Any]:
        """The meter's record, with what an interrupted part of this run has cost."""
        if self.meter is None:
            return {}
        record, earlier = self.meter.record(), self.earlier
        if earlier:
            source = record["energy_source"]
            for name in BOOKED:
                both = (earlier[name], record[name])
                record[name] = {key: sum(part.get(key, 0.0) for part in both) for key in {**both[0], **both[1]}}
            grams = (earlier["co2e_grams"], record["co2e_grams"])
            record["co2e_grams"] = None if None in grams else sum(grams)
            record["joules_net"] = None  # the interrupted part has no baseline after it
            source["measured"] = source["measured"] and earlier["measured"]
            source["notes"].append("resumed: the figures contain the interrupted part's, up to its last checkpoint")
        return record

    def draw(self, folder: Path) -> Path | None:
        """Draw the run's power over time as ``power.png``; ``None`` where nothing was metered or drawing fails."""
        if self.meter is None or not self.plot:
            return None
        from tbft.energy.metering.power_plot import plot_power

        path = folder / "power.png"
        try:
            plot_power(self.meter, path)
        except Exception as error:  # a picture must not fail a run that is done
            log.warning("%s was not drawn: %s", path, error)
            return None
        return path

    def spent(self) -> tuple[float, float]:
        """Joules and wall-seconds of the adaptation so far."""
        if self.meter is None:
            return 0.0, 0.0
        joules, seconds = self.meter.joules_so_far(ADAPTATION), self.meter.seconds_so_far(ADAPTATION)
        if self.earlier:
            joules += self.earlier["joules"]["adaptation"]
            seconds += self.earlier["wall_seconds"]["adaptation"]
        return joules, seconds

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Book what happens inside to a phase; nothing is booked where no meter runs."""
        self.enter(name)
        depth = len(self.open)
        try:
            yield
        finally:
            while len(self.open) >= max(depth, 1):
                self.leave()

    def end_adaptation(self) -> None:
        """What follows is no part of the adaptation: its peak memory is read here."""
        self.process.end_adaptation()

    def over_budget(self) -> bool:
        """Whether the adaptation has used up a budget; ``stopped_by`` then names it."""
        if self.budget_joules is not None or self.budget_seconds is not None:
            joules, seconds = self.spent()
            if self.budget_joules is not None and joules >= self.budget_joules:
                self.stopped_by = "budget_joules"
            if self.budget_seconds is not None and seconds >= self.budget_seconds:
                self.stopped_by = "budget_seconds"
        return self.stopped_by is not None


def phase_of(meter: RunMeter | None, name: str) -> AbstractContextManager[None]:
    """Book what happens inside to a phase, if there is a meter."""
    return meter.phase(name) if meter is not None else nullcontext()
