"""Reading the sources of a machine when they are due, in a thread or by hand, and telling what went wrong."""

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
    """Takes the readings.

    Attributes:
        lock: Guards the machine's tracks.
        readings: How many readings were taken.
        cpu_seconds: Processor time spent on them.
    """

    def __init__(
        self,
        machine: Machine,
        rate_hz: float,
        clock: Callable[[], float],
        tell: Callable[[float, str], None],
        other_duty: Callable[[], None],
    ) -> None:
        """Prepares the sampler; nothing is read yet.

        Args:
            machine: Whose tracks are filled.
            rate_hz: Readings a second of each source that counts.
            clock: The meter's clock.
            tell: Called with a moment and a sentence when a source is lost.
            other_duty: Called every few seconds (to look for throttling).
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
        """Returns when a track is due."""
        wanted = max(self._interval, track.source.sample_seconds)
        return self._paces.setdefault(id(track), Pace(wanted))

    def start(self) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._run, name="tbft-energy", daemon=True)
        self._thread.start()

    def stop(self) -> bool:
        """Ends the thread.

        Returns:
            False if it hangs in a reading and had to be left behind.
        """
        self._ended.set()
        self._wake.set()
        if self._thread is None:
            return True
        self._thread.join(_JOIN_SECONDS)
        return not self._thread.is_alive()

    def sample(self, due_only: bool = False) -> None:
        """Reads every source that counts, and those standing by when they are due.

        Args:
            due_only: Only those whose time has come.
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
        """Reads what returns at once, in the calling thread; asks the sampling thread to read the rest."""
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
