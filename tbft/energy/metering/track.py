"""A track: the checked readings of one source over time, and its joules between any two moments."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right

from tbft.energy.sensors.source import PowerSource, SensorFault

_FAULTS_UNTIL_LOST = 3
"""A source is given up after this many bad readings in a row; a single one may be an error of the bus."""
_STEP = 8.0
"""A reading this many times above or below the last one counts as a spike unless the next one confirms it."""
_UNIT_STEP = 300.0
"""A lasting step by more than this factor is a change of the unit and not of the load."""
_STANDSTILL_SECONDS = 2.0


class Track:
    """The readings of one source.

    Between two readings, power is interpolated linearly (the trapezoid rule); so is the count of a counter.

    Attributes:
        source: The source of the readings.
        lost: The reason why the source was given up, or None.
        dropped: Number of refused readings.
        last_fault: What was wrong with the last refused reading; empty if none was refused.
    """

    def __init__(self, source: PowerSource) -> None:
        self.source = source
        self.lost: str | None = None
        self.dropped = 0
        self.last_fault = ""
        self._times = array("d")
        self._watts = array("d")  # power at each time; for a counter, mean power of the interval that ends there
        self._joules = array("d")  # since the first reading
        self._spread = array("d")  # variance of the joules so far, see `variance`
        self._counter_start = 0.0
        self._faults = 0
        self._suspect: tuple[float, float] | None = None

    def take(self, now: float) -> None:
        """Read the source and add the reading at the moment `now`; a bad reading is dropped.

        After several bad readings in a row the track is `lost` and ends at its last good reading.

        Args:
            now: The present moment, in seconds on the meter's clock.
        """
        try:
            value = self.source.read()
        except SensorFault as fault:
            self.refuse(str(fault))
            return
        self.add(now, value)

    def add(self, now: float, value: float) -> None:
        """Add a reading if it is plausible; count it as a bad reading if not.

        Args:
            now: The moment of the reading, in seconds on the meter's clock.
            value: The reading, in the source's unit: watts, or joules of a counter.
        """
        if self.lost is not None or (self._times and now <= self._times[-1]):
            return
        try:
            if not math.isfinite(value):
                raise SensorFault(f"read {value}")
            if self.source.unit == "joules":
                self._add_counter(now, value)
            else:
                self._add_power(now, value)
        except SensorFault as fault:
            self.refuse(str(fault))

    def refuse(self, reason: str) -> None:
        """Count a bad reading; after `_FAULTS_UNTIL_LOST` in a row the source is lost.

        Args:
            reason: What was wrong with the reading.
        """
        self.dropped += 1
        self._faults += 1
        self.last_fault = reason
        if self._faults >= _FAULTS_UNTIL_LOST:
            self.lost = reason

    def _add_power(self, now: float, watts: float) -> None:
        lowest, highest = self.source.plausible
        if not lowest <= watts <= highest:
            raise SensorFault(f"read {watts:.4g} W, outside {lowest:g} to {highest:g} W")
        suspect, self._suspect = self._suspect, None
        if self.source.measured and len(self._times) >= 3:
            ratio = _ratio(watts, self._watts[-1])
            if ratio > _STEP:
                if suspect is None:
                    self._suspect = (now, watts)
                    return
                if ratio > _UNIT_STEP:
                    raise SensorFault(f"jumped by a factor of {ratio:.0f} to {watts:.4g} W: has its unit changed?")
        if suspect is not None:
            if _ratio(suspect[1], watts) < _ratio(suspect[1], self._watts[-1]):
                self._append_power(*suspect)  # the step was real
            else:
                self.dropped += 1
                self.last_fault = f"a spike of {suspect[1]:.4g} W"
        self._append_power(now, watts)

    def _append_power(self, now: float, watts: float) -> None:
        joules = spread = 0.0
        if self._times:
            seconds = now - self._times[-1]
            joules = self._joules[-1] + 0.5 * (self._watts[-1] + watts) * seconds
            # A step from one reading to the next may have happened at any moment between them.
            blur = (watts - self._watts[-1]) * max(seconds, self.source.resolution_seconds)
            spread = self._spread[-1] + blur**2 / 12.0
        self._append(now, watts, joules, spread)

    def _add_counter(self, now: float, value: float) -> None:
        if not self._times:
            self._counter_start = value
            self._append(now, 0.0, 0.0, 0.0)
            return
        seconds = now - self._times[-1]
        joules = value - self._counter_start
        gained = joules - self._joules[-1]
        highest = self.source.plausible.highest
        if gained < 0 or gained > highest * (seconds + 2 * self.source.resolution_seconds):
            raise SensorFault(f"the counter went by {gained:.4g} J in {seconds:.3g} s")
        standstill = max(_STANDSTILL_SECONDS, 20 * self.source.resolution_seconds)
        if gained == 0 and self.source.measured:
            if seconds > standstill:
                raise SensorFault(f"the counter stands still for {seconds:.1f} s")
            return  # the next interval begins at the last change
        watts = gained / seconds
        if len(self._times) == 1:
            self._watts[0] = watts
        self._append(now, watts, joules, 0.0)

    def _append(self, now: float, watts: float, joules: float, spread: float) -> None:
        self._faults = 0
        self._times.append(now)
        self._watts.append(watts)
        self._joules.append(joules)
        self._spread.append(spread)

    @property
    def times(self) -> array[float]:
        """Moments of the good readings."""
        return self._times

    @property
    def last_time(self) -> float:
        """The moment of the last good reading; minus infinity before the first."""
        return self._times[-1] if self._times else -math.inf

    def longest_gap(self) -> float:
        """Return the longest time between two successive good readings, in seconds."""
        pairs = zip(self._times, self._times[1:], strict=False)
        return max((later - earlier for earlier, later in pairs), default=0.0)

    def watts(self, at: float) -> float:
        """Return the power at a moment, in watts; outside of the readings it is that of the nearest reading."""
        if not self._times:
            return 0.0
        right = bisect_right(self._times, at)
        if right == 0:
            return self._watts[0]
        if right == len(self._times):
            return self._watts[-1]
        if self.source.unit == "joules":
            return self._watts[right]
        share = (at - self._times[right - 1]) / (self._times[right] - self._times[right - 1])
        return self._watts[right - 1] + share * (self._watts[right] - self._watts[right - 1])

    def joules(self, start: float, end: float) -> float:
        """Return the joules between two moments; outside of the readings the power of the nearest one is held."""
        return self._until(end) - self._until(start)

    def variance(self, start: float, end: float) -> float:
        """Return the variance of `joules(start, end)`, in J^2, from not knowing when the power changed.

        A step of the power from w0 to w1 may have come at any moment between two readings dt apart: its energy is
        uniform over a range of (w1 - w0) dt, with the variance ((w1 - w0) dt)^2 / 12. A counter that changes every r
        seconds is up to r seconds old at each end.
        """
        if not self._times or end <= start:
            return 0.0
        if self.source.unit == "joules":
            edge = self.source.resolution_seconds * self.joules(start, end) / (end - start)
            return 2 * edge**2 / 12.0
        return self._spread_until(end) - self._spread_until(start)

    def _until(self, at: float) -> float:
        if not self._times:
            return 0.0
        right = bisect_right(self._times, at)
        if right == 0:
            return (at - self._times[0]) * self._watts[0]
        left = right - 1
        seconds = at - self._times[left]
        mean = self._watts[left]
        if right < len(self._times):
            mean = self._watts[right]
            if self.source.unit == "watts":
                mean = 0.5 * (self._watts[left] + self.watts(at))
        return self._joules[left] + mean * seconds

    def _spread_until(self, at: float) -> float:
        right = bisect_right(self._times, at)
        if right == 0 or right == len(self._times):
            return self._spread[max(right - 1, 0)]
        share = (at - self._times[right - 1]) / (self._times[right] - self._times[right - 1])
        return self._spread[right - 1] + share * (self._spread[right] - self._spread[right - 1])


def _ratio(one: float, other: float) -> float:
    low, high = sorted((abs(one), abs(other)))
    return high / low if low > 0 else math.inf
