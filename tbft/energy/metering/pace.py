"""The pace of readings: a source is read at the meter's rate, or less often if a reading costs much processor time."""

from __future__ import annotations

import math
import time

from tbft.energy.sensors.cpu_time import children_cpu_seconds

_COST_SHARE = 0.006
"""Largest share of one core that reading a source may take. Only a source that starts a program comes near it."""
_WARM_UP_READINGS = 3
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


class CostMeter:
    """Measures the processor time of a `with` block: this thread's, and that of programs it starts and waits for.

    Attributes:
        seconds: The processor time, once the block has ended.
    """

    seconds = 0.0

    def __enter__(self) -> CostMeter:
        self._wall, self._thread, self._children = time.monotonic(), time.thread_time(), children_cpu_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        # Another child may end in the meantime: at most the wall-clock time is the block's own.
        children = min(children_cpu_seconds() - self._children, time.monotonic() - self._wall)
        self.seconds = time.thread_time() - self._thread + children


class Pace:
    """Decides when a source is read next.

    The intervals vary by up to a quarter in a fixed sequence without a period. Otherwise a load that repeats at the
    sampling rate (a training step of 0.1 s) would always be met at the same point.

    Attributes:
        due: The next moment to read the source, on the meter's clock.
        cost: Processor seconds of a reading (a running mean).
    """

    def __init__(self, interval: float) -> None:
        """Start with a source that is due at once.

        Args:
            interval: Wanted seconds between two readings; they are further apart if a reading is expensive.
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
        """Whether the readings cost so much that the interval is more than 1.5 times the wanted one."""
        return self.interval > 1.5 * self._wanted

    def allows_extra(self, now: float) -> bool:
        """Return whether an additional reading, at the edge of a phase, stays within the share of processor time."""
        return now - self._last >= self.cost / _COST_SHARE

    def was_read(self, now: float, cost: float) -> None:
        """Update the cost and set the moment of the next reading.

        Args:
            now: The moment of the reading, on the meter's clock.
            cost: Processor seconds of the reading.
        """
        if self._count < _WARM_UP_READINGS:
            self.cost = cost if self._count == 0 else min(cost, self.cost)  # the first readings fill caches
        else:
            self.cost += 0.2 * (cost - self.cost)
        self._count += 1
        self._last = now
        self.due = now + self.interval * (0.75 + 0.5 * (self._count * _GOLDEN % 1.0))
