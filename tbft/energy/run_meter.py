"""The meter of a run: books its energy and time to phases, and watches its budgets."""

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
"""Names of the figures that are booked by phase."""

BUDGETS = ("budget_joules", "budget_seconds")
"""Arguments of ``RunMeter`` that can end training early and so change the resulting weights."""


class RunMeter:
    """Books joules, CPU-seconds and wall-seconds to the phases of a run.

    A run's checkpoint contains its cost so far: the figures of a resumed run, and its budgets, include those of the
    interrupted part up to that checkpoint.

    Args:
        sources: power sources in order of trust: ``auto``, or names as ``python -m tbft meter`` lists them.
        rail: sensor rail or shunt to trust where a chip has several.
        shunt_ohms: true resistance in ohms of a current sensor's shunt, where its driver assumes another.
        rate_hz: readings a second of each sensor; fewer where a reading costs too much processor time.
        idle_seconds: seconds to measure the idle machine before and after the run; 0 is none.
        country: three-letter ISO code of the country whose electricity CO2e is estimated for.
        codecarbon: run CodeCarbon's offline tracker for comparison, and model the memory's power if it has no sensor.
        budget_joules: joules of the adaptation at which training stops; the best weights so far are kept. Without a
            power sensor these are modelled joules, which follow the load of the whole machine and are coarse in the
            first second: budget_seconds limits a short run.
        budget_seconds: wall-clock seconds of the adaptation at which training stops; the best weights so far are kept.
        plot: draw power over time with its phases when the run is over (about a second, booked to no phase), and the
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
        """Return the run's cost so far, for its checkpoint; empty if the meter never started."""
        record = self._record()
        if not record:
            return {}
        figures = {name: record[name] for name in (*BOOKED, "co2e_grams")}
        return {**figures, "measured": record["energy_source"]["measured"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the cost of the interrupted part of the run, as ``state_dict`` returned it."""
        self.earlier = state_dict

    def check(self) -> None:
        """Check the options before the run.

        Raises:
            BadInput: if a named source, rail or country is not there, or a number is out of its range.
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
        """Begin the run and start the meter; later calls do nothing.

        Args:
            threads: number of threads that the run computes with, to judge whether other programs took their cores.
            synchronize: function that waits for the accelerator at every edge of a phase; ``None`` for no wait.
        """
        self.process.begin()
        if self.meter is None:
            meter = EnergyMeter(synchronize=synchronize, threads=threads, **self.settings)
            meter.start()  # one that fails here has nothing to record, and its own reason counts
            self.meter = meter

    @property
    def peak_rss_mib(self) -> float:
        """Peak resident memory in MiB of the adaptation, which ends when testing begins."""
        return self.process.peak_rss_mib()

    def enter(self, name: str) -> None:
        """Begin a phase within the present one."""
        if self.meter is not None:
            self.meter.enter(name)
            self.open.append(name)

    def leave(self) -> None:
        """End the innermost phase; the one around it goes on."""
        if self.meter is not None and self.open:
            self.meter.leave(self.open.pop())

    def finish(self, *, idle: bool = True) -> dict[str, Any]:
        """End the open phases, stop the meter and return its record (empty if it never ran).

        Args:
            idle: whether to watch the machine at rest once more, if ``idle_seconds`` is above 0.
        """
        while self.open:
            self.leave()
        if self.meter is None:
            return {}
        self.meter.stop(idle=idle)
        self._metered = self._record()
        return {**self._metered, "stopped_by": self.stopped_by}

    def process_record(self, reading_test: tuple[float, float] = (0.0, 0.0)) -> dict[str, Any]:
        """Return the process's cost until now (see ``ProcessCost.record``); call it after ``finish``.

        Args:
            reading_test: CPU-seconds and seconds that reading the test images took outside of the phases.
        """
        if self.earlier:  # what the interrupted process cost outside of its phases is unknown
            return {**self.process.record(), "since": RESUME}
        return self.process.record(self._metered, reading_test=reading_test)

    def _record(self) -> dict[str, Any]:
        """Return the meter's record, with the cost of an interrupted part of this run added."""
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
        """Draw the run's power over time as ``power.png`` in a folder.

        Args:
            folder: folder of the picture; it is made if need be.

        Returns:
            The file; ``None`` if nothing was metered, ``plot`` is off, or drawing fails (which is logged).
        """
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
        """Return joules and wall-seconds of the adaptation so far."""
        if self.meter is None:
            return 0.0, 0.0
        joules, seconds = self.meter.joules_so_far(ADAPTATION), self.meter.seconds_so_far(ADAPTATION)
        if self.earlier:
            joules += self.earlier["joules"]["adaptation"]
            seconds += self.earlier["wall_seconds"]["adaptation"]
        return joules, seconds

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Book a ``with`` block to a phase, unless the meter does not run."""
        self.enter(name)
        depth = len(self.open)
        try:
            yield
        finally:
            while len(self.open) >= max(depth, 1):
                self.leave()

    def end_adaptation(self) -> None:
        """End the adaptation: memory that is used after this call does not count to its peak."""
        self.process.end_adaptation()

    def over_budget(self) -> bool:
        """Return whether the adaptation has used up a budget; ``stopped_by`` then names it."""
        if self.budget_joules is not None or self.budget_seconds is not None:
            joules, seconds = self.spent()
            if self.budget_joules is not None and joules >= self.budget_joules:
                self.stopped_by = "budget_joules"
            if self.budget_seconds is not None and seconds >= self.budget_seconds:
                self.stopped_by = "budget_seconds"
        return self.stopped_by is not None


def phase_of(meter: RunMeter | None, name: str) -> AbstractContextManager[None]:
    """Return a context that books a ``with`` block to a phase of a meter; it does nothing without a meter."""
    return meter.phase(name) if meter is not None else nullcontext()
