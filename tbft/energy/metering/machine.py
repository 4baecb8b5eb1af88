"""The machine's energy: each part is read from its best source that still works, and each joule is counted once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tbft.energy.metering.track import Track
from tbft.energy.sensors.source import PARTS, Part, PowerSource


@dataclass
class Succession:
    """The sources of one part, best first; when one is lost, the next takes over from its last good reading on.

    Attributes:
        part: The part of the machine that the sources cover.
        tracks: The readings of each source, in order of trust.
        handovers: For each lost source, the moment up to which it counts, in seconds on the meter's clock.
    """

    part: Part
    tracks: list[Track]
    handovers: list[float] = field(default_factory=list)

    @property
    def active(self) -> Track | None:
        """The track of the source that counts now; None if all are lost or there never was one."""
        used = len(self.handovers)
        return self.tracks[used] if used < len(self.tracks) else None

    def hand_over(self, started: float) -> Track | None:
        """Retire the active track if its source is lost.

        Args:
            started: The moment of the first readings; no handover is earlier.

        Returns:
            The track that was retired, or None.
        """
        track = self.active
        if track is None or track.lost is None:
            return None
        earlier = self.handovers[-1] if self.handovers else started
        self.handovers.append(max(track.last_time, earlier))
        return track

    @property
    def ends(self) -> float:
        """The moment up to which some source counts: infinity while one is active, minus infinity without sources."""
        if self.active is not None:
            return math.inf
        return self.handovers[-1] if self.handovers else -math.inf

    def spans(self, start: float, end: float) -> Iterator[tuple[Track, float, float]]:
        """Yield the tracks that count between two moments, each with beginning and end of the time it counts for."""
        for index, track in enumerate(self.tracks[: len(self.handovers) + 1]):
            until = min(end, self.handovers[index]) if index < len(self.handovers) else end
            if until > start:
                yield track, start, until
                start = until


class Machine:
    """The sources of a machine: those of the board, and those of each part for times when no board sensor counts.

    Attributes:
        board: Succession of the sources that cover the whole board.
        parts: Successions of the sources of each part, in the order of `PARTS`.
    """

    def __init__(self, sources: Sequence[PowerSource], started: float) -> None:
        """Sort the sources into successions.

        Args:
            sources: Power sources in order of trust.
            started: The moment of the first readings, on the meter's clock.
        """
        self._started = started
        self.board = Succession("board", [Track(source) for source in sources if source.covers == "board"])
        self.parts = [Succession(part, [Track(s) for s in sources if s.covers == part]) for part in PARTS]

    @property
    def successions(self) -> list[Succession]:
        """The board's succession, then the parts'."""
        return [self.board, *self.parts]

    def counting(self) -> list[Track]:
        """Return the tracks that count now: the board's, or one for each part."""
        board = self.board.active
        tracks = [board] if board is not None else [succession.active for succession in self.parts]
        return [track for track in tracks if track is not None]

    def standing_by(self) -> list[Track]:
        """Return the counters that would take over; the sampler reads them now and then, so that no gap arises."""
        counting = self.counting()
        return [
            track
            for succession in self.successions
            for track in succession.tracks[len(succession.handovers) :]
            if track.source.unit == "joules" and track.lost is None and track not in counting
        ]

    def retire_lost(self) -> list[tuple[Succession, Track]]:
        """Retire every lost source; return each with the succession that it belonged to."""
        lost = []
        for succession in self.successions:
            while (track := succession.hand_over(self._started)) is not None:
                lost.append((succession, track))
        return lost

    def spans(self, start: float, end: float) -> Iterator[tuple[Part, Track, float, float]]:
        """Yield part, track, beginning and end of each time for which a track counts; `board` stands for all parts."""
        for track, begin, until in self.board.spans(start, min(end, self.board.ends)):
            yield "board", track, begin, until
        rest = max(start, self.board.ends)
        if rest < end:
            for succession in self.parts:
                for track, begin, until in succession.spans(rest, min(end, succession.ends)):
                    yield succession.part, track, begin, until

    def joules(self, start: float, end: float) -> dict[Part, float]:
        """Return the joules between two moments by part; their sum is the machine's energy."""
        booked: dict[Part, float] = {}
        for part, track, begin, until in self.spans(start, end):
            booked[part] = booked.get(part, 0.0) + track.joules(begin, until)
        return booked

    def variance(self, start: float, end: float) -> float:
        """Return the variance of the energy between two moments, in J^2 (see `Track.variance`)."""
        return sum(track.variance(begin, until) for _, track, begin, until in self.spans(start, end))

    def watts(self, at: float) -> float:
        """Return the machine's power at a moment, in watts."""
        just_after = math.nextafter(at, math.inf)
        return sum(track.watts(at) for _, track, _, _ in self.spans(at, just_after))

    def settled_until(self) -> float:
        """Return the moment before which further readings change no joules."""
        return min((track.last_time for track in self.counting()), default=math.inf)
