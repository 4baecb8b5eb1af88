"""How often a source is read: at the meter's rate, or less often where a reading costs much processor time."""

from __future__ import annotations

import math
import time

from tbft.energy.sensors.cpu_time import children_cpu_seconds

_COST_SHARE = 0.006
"""Of one core, for each source. Only one that starts a program for each reading comes near it."""
_WARM_UP_READINGS = 3
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


class CostMeter:
    """Processor time of this thread, and of a program it starts and waits for, between entering and leaving.

    Attributes:
        seconds: The time used, after leaving.
    """

    seconds = 0.0

    def __enter__(self) -> CostMeter:
        self._wall, self._thread, self._children = time.monotonic(), time.thread_time(), children_cpu_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        # Another child may end meanwhile: no more than the wall-clock time can be this one's.
        children = min(children_cpu_seconds() - self._children, time.monotonic() - self._wall)
        self.seconds = time.thread_time() - self._thread + children


class Pace:
    """When a source is due.

    The intervals vary by a quarter in a fixed sequence without a period, so that a load that repeats at the
    sampling rate (a training step of 0.1 s) is not always met at the same point.

    Attributes:
        due: The next moment to read it.
        cost: What a reading costs, in processor seconds (a running mean).
    """

    def __init__(self, interval: float) -> None:
        """Is due at once.

        Args:
            interval: Seconds between two readings, if they are cheap enough.
        """
        self.due = -math.inf
        self.cost = 0.0
        self._wanted = interval
        self._count = 0
        self._last = -math.inf

    @property
    def interval(self) -> float:
        """Mean seconds between two readings."""
        return max(self._wanted, self.cost / _COST_SHARE)

    @property
    def slowed(self) -> bool:
        """Whether the readings cost too much for the wanted rate."""
        return self.interval > 1.5 * self._wanted

    def allows_extra(self, now: float) -> bool:
        """Whether an additional reading, at a window's edge, stays within the cost share."""
        return now - self._last >= self.cost / _COST_SHARE

    def was_read(self, now: float, cost: float) -> None:
        """Sets the next moment.

        Args:
            now: The moment of the reading.
            cost: Its processor seconds.
        """
        if self._count < _WARM_UP_READINGS:
            self.cost = cost if self._count == 0 else min(cost, self.cost)  # the first ones fill caches
        else:
            self.cost += 0.2 * (cost - self.cost)
        self._count += 1
        self._last = now
        self.due = now + self.interval * (0.75 + 0.5 * (self._count * _GOLDEN % 1.0))
