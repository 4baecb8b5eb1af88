"""The phases of a run: a stack of their names, and the stretches of time in which each was innermost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Stretch:
    """A stretch of time without a change of phase.

    Attributes:
        phase: The innermost phase, or None outside of all phases.
        start: The beginning, in seconds on the meter's clock.
        end: The end, in seconds on the meter's clock.
        cpu_seconds: Processor time used in it, by all threads and by child processes that ended in it.
    """

    phase: str | None
    start: float
    end: float
    cpu_seconds: float

    @property
    def seconds(self) -> float:
        """Length in wall-clock seconds."""
        return self.end - self.start


class PhaseStack:
    """The phases that a run is in, innermost last, and the stretches of time that are over.

    Attributes:
        stretches: The stretches that are over, in order, without gaps.
    """

    def __init__(self, now: float, cpu_seconds: float) -> None:
        """Start outside of all phases.

        Args:
            now: The present moment, in seconds on the meter's clock.
            cpu_seconds: Processor time of the process so far.
        """
        self.stretches: list[Stretch] = []
        self._wall: dict[str | None, float] = {}
        self._stack: list[str] = []
        self._since = now
        self._cpu_since = cpu_seconds

    @property
    def innermost(self) -> str | None:
        """The phase that time and energy go to now."""
        return self._stack[-1] if self._stack else None

    def enter(self, phase: str, now: float, cpu_seconds: float) -> None:
        """Begin a phase within the present one.

        Args:
            phase: Name of the phase.
            now: The present moment, in seconds on the meter's clock.
            cpu_seconds: Processor time of the process so far.
        """
        self._close(now, cpu_seconds)
        self._stack.append(phase)

    def leave(self, phase: str, now: float, cpu_seconds: float) -> bool:
        """End a phase, and the phases within it that an exception left open.

        Args:
            phase: Name of the phase.
            now: The present moment, in seconds on the meter's clock.
            cpu_seconds: Processor time of the process so far.

        Returns:
            False if the phase is not open; then nothing changes.
        """
        if phase not in self._stack:
            return False
        self._close(now, cpu_seconds)
        while self._stack.pop() != phase:
            pass
        return True

    def leave_all(self, now: float, cpu_seconds: float) -> None:
        """End all open phases, at the end of the run."""
        self._close(now, cpu_seconds)
        self._stack.clear()

    def open_stretch(self, now: float, cpu_seconds: float) -> Stretch:
        """Return the present stretch, as if it ended now."""
        return Stretch(self.innermost, self._since, max(now, self._since), cpu_seconds - self._cpu_since)

    def seconds(self, phases: Iterable[str] | None, now: float) -> float:
        """Return the wall-clock seconds in some phases so far.

        Args:
            phases: Names of the phases; None for all of them, without the time outside of phases.
            now: The present moment, in seconds on the meter's clock.
        """
        seconds = dict(self._wall)
        seconds[self.innermost] = seconds.get(self.innermost, 0.0) + max(0.0, now - self._since)
        if phases is None:
            return sum(wall for phase, wall in seconds.items() if phase is not None)
        return sum(seconds.get(phase, 0.0) for phase in frozenset(phases))

    def _close(self, now: float, cpu_seconds: float) -> None:
        stretch = self.open_stretch(now, cpu_seconds)
        if stretch.seconds > 0 or stretch.cpu_seconds > 0:
            self.stretches.append(stretch)
            self._wall[stretch.phase] = self._wall.get(stretch.phase, 0.0) + stretch.seconds
        self._since, self._cpu_since = stretch.end, cpu_seconds
