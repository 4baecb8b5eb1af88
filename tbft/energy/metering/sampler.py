"""The sampler: reads the sources of a machine when they are due, in a thread or by hand, and reports lost sources."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from tbft.energy.metering.machine import Machine
from tbft.energy.metering.pace import CostMeter, Pace
from tbft.energy.metering.track import Track
from tbft.energy.sensors.source import SensorFault

_STANDBY_SECONDS = 1.0
_JOIN_SECONDS = 2.0
_OTHER_DUTY_SECONDS = 5.0


class Sampler:
    """Takes the readings of a machine's sources.

    Attributes:
        lock: Lock that guards the machine's tracks.
        readings: Number of readings so far, refused ones included.
        cpu_seconds: Processor time spent on the readings and on the other duty.
    """

    def __init__(
        self,
        machine: Machine,
        rate_hz: float,
        clock: Callable[[], float],
        tell: Callable[[float, str], None],
        other_duty: Callable[[], None],
    ) -> None:
        """Prepare the sampler; nothing is read yet.

        Args:
            machine: The machine whose tracks are filled.
            rate_hz: Readings a second of each source that counts.
            clock: The meter's clock, in seconds.
            tell: A function that is called with a moment and a sentence when a source is lost.
            other_duty: A function that is called every few seconds (to look for throttling).
        """
        self.lock = threading.RLock()
        self.readings = 0
        self.cpu_seconds = 0.0
        self._machine, self._clock, self._tell = machine, clock, tell
        self._interval = 1.0 / rate_hz
        self._paces: dict[int, Pace] = {}
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._other_duty = other_duty
        self._other_due = clock() + _OTHER_DUTY_SECONDS

    def pace(self, track: Track) -> Pace:
        """Return the pace at which a track is read."""
        wanted = max(self._interval, track.source.sample_seconds)
        return self._paces.setdefault(id(track), Pace(wanted))

    def start(self) -> None:
        """Start the thread that takes the readings."""
        self._thread = threading.Thread(target=self._run, name="tbft-energy", daemon=True)
        self._thread.start()

    def stop(self) -> bool:
        """End the thread, if there is one.

        Returns:
            False if the thread hangs in a reading and goes on.
        """
        self._ended.set()
        self._wake.set()
        if self._thread is None:
            return True
        self._thread.join(_JOIN_SECONDS)
        return not self._thread.is_alive()

    def sample(self, due_only: bool = False) -> None:
        """Read every source that counts, and the sources standing by that are due.

        Args:
            due_only: Whether to read a source that counts only if it is due.
        """
        for track in self._machine.counting():
            if not due_only or self._clock() >= self.pace(track).due:
                self._read(track)
        for track in self._machine.standing_by():
            if self._clock() >= self.pace(track).due:
                self._read(track)
                self.pace(track).due = self._clock() + _STANDBY_SECONDS
        if self._clock() >= self._other_due:
            self._other_due = self._clock() + _OTHER_DUTY_SECONDS
            with CostMeter() as cost:
                self._other_duty()
            self.cpu_seconds += cost.seconds

    def at_edge(self) -> None:
        """Read the sources at the edge of a phase, unless a reading more would cost too much processor time.

        A source that answers at once is read in the calling thread; the sampling thread is asked to read the others.
        """
        for track in self._machine.counting():
            pace = self.pace(track)
            if not pace.allows_extra(self._clock()):
                continue
            if track.source.instant:
                self._read(track)
            else:
                pace.due = -math.inf
                self._wake.set()

    def _read(self, track: Track) -> None:
        if track.source.instant:
            with self.lock:
                self._take(track)
        else:
            self._take(track)

    def _take(self, track: Track) -> None:
        began = self._clock()
        with CostMeter() as cost:
            value, refusal = 0.0, None
            try:
                value = track.source.read()
            except SensorFault as fault:
                refusal = str(fault)
            except Exception as error:  # a driver's library may raise anything; the run goes on without it
                refusal = f"{type(error).__name__}: {error}"
        now = self._clock()
        with self.lock:
            if refusal is None:
                track.add(0.5 * (began + now), value)
            else:
                track.refuse(refusal)
            self.readings += 1
            self.cpu_seconds += cost.seconds
            self.pace(track).was_read(now, cost.seconds)
            for succession, lost in self._machine.retire_lost():
                following = [succession.active] if succession.active else self._machine.counting()
                names = ", ".join(f"{track.source.name} ({track.source.covers})" for track in following)
                sentence = f"{lost.source.name} lost: {lost.lost}; from then on: {names or 'nothing'}"
                self._tell(succession.handovers[-1], sentence)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._wake.clear()
            self.sample(due_only=True)
            tracks = [*self._machine.counting(), *self._machine.standing_by()]
            due = min((self.pace(track).due for track in tracks), default=self._clock() + _STANDBY_SECONDS)
            self._wake.wait(max(1e-3, min(due - self._clock(), _STANDBY_SECONDS)))
