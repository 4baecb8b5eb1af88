"""`python -m tbft meter`: which power sources this machine has, what they read, and how to get better ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tbft.energy.metering.codecarbon_beside import ram_model
from tbft.energy.metering.track import Track
from tbft.energy.sensors import codecarbon_tables
from tbft.energy.sensors.finder import SYSFS, find_sources, models
from tbft.energy.sensors.source import PowerSource
from tbft.energy.survey.advice import Advice, advise

if TYPE_CHECKING:
    from rich.console import RenderableType

_INTERVAL_SECONDS = 0.1
_PROGRESS_FROM_SECONDS = 2.0


@dataclass(frozen=True)
class Surveyed:
    """The readings of one source during the survey.

    Attributes:
        source: The source that was read.
        watts: Mean power in watts, or None if there were too few usable readings.
        lowest: The lowest reading, in watts.
        highest: The highest reading, in watts.
        fault: What was wrong, or empty.
    """

    source: PowerSource
    watts: float | None
    lowest: float
    highest: float
    fault: str


def read_sources(
    sources: list[PowerSource], seconds: float, tick: Callable[[float], None] = lambda share: None
) -> list[Surveyed]:
    """Read some sources for a while.

    Args:
        sources: The power sources to read.
        seconds: Seconds to read them for.
        tick: A function that is called with the share of the time that has passed, from 0 to 1.
    """
    tracks = [Track(source) for source in sources]
    began = time.monotonic()
    while True:
        for track in tracks:
            if track.lost is None:
                track.take(time.monotonic())
        passed = time.monotonic() - began
        tick(min(1.0, passed / seconds) if seconds > 0 else 1.0)
        if passed >= seconds:
            break
        time.sleep(min(_INTERVAL_SECONDS, seconds - passed))
    return [_surveyed(track) for track in tracks]


def _surveyed(track: Track) -> Surveyed:
    times = track.times
    if len(times) < 2:
        return Surveyed(track.source, None, 0.0, 0.0, track.last_fault or "too few readings")
    readings = [track.watts(moment) for moment in times]
    mean = track.joules(times[0], times[-1]) / (times[-1] - times[0])
    return Surveyed(track.source, mean, min(readings), max(readings), track.lost or "")


def survey(
    seconds: float = 2.0,
    *,
    rail: str | None = None,
    shunt_ohms: float | None = None,
    sysfs: Path = SYSFS,
    vcgencmd: str = "vcgencmd",
    tick: Callable[[float], None] = lambda share: None,
) -> RenderableType:
    """Read all power sources of this machine and return a table of them, with advice, for the terminal.

    Args:
        seconds: Seconds to read the sources for.
        rail: The rail or shunt to trust, see `find_sources`.
        shunt_ohms: True resistance of a hwmon sensor's shunt, in ohms.
        sysfs: The folder /sys, or a stand-in for it.
        vcgencmd: Name or path of the Raspberry Pi's `vcgencmd`.
        tick: A function that is called with the share of the time that has passed, from 0 to 1.

    Raises:
        BadInput: If there is no such rail, or `shunt_ohms` is not above 0 or fits no current sensor.
    """
    sensors = find_sources(rail=rail, shunt_ohms=shunt_ohms, sysfs=sysfs, vcgencmd=vcgencmd)
    sources = [*sensors, *models(codecarbon_tables.processor(), ram_model())]
    return _layout(read_sources(sources, seconds, tick), advise(sources, sysfs, vcgencmd))


def _layout(surveyed: list[Surveyed], missing: list[Advice]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Power sources of this machine, the most trusted first", title_justify="left")
    for heading in ("source", "covers", "how", "reads now", "range", "counts"):
        table.add_column(heading)
    counts = _counting([row.source for row in surveyed if row.watts is not None])
    for row in surveyed:
        if row.watts is None:
            table.add_row(row.source.name, row.source.covers, "", row.fault, "", "no")
            continue
        table.add_row(
            row.source.name,
            row.source.covers,
            "measured" if row.source.measured else "modelled",
            f"{row.watts:.2f} W",
            f"{row.lowest:.2f} - {row.highest:.2f} W",
            "yes" if row.source in counts else "stands by",
        )
    lines: list[RenderableType] = [table]
    notes = list(dict.fromkeys(row.source.note for row in surveyed if row.source.note))
    lines += [Text(f"- {note}") for note in notes]
    if missing:
        lines.append(Text("\nTo measure better:", style="bold"))
    for advice in missing:
        lines.append(Text(f"- {advice.what}"))
        lines += [Text(f"    {command}", style="cyan") for command in advice.commands]
    return Group(*lines)


def _counting(sources: list[PowerSource]) -> list[PowerSource]:
    """Return the sources that a run's joules would come from: the board's first, or else the first of each part."""
    board = [source for source in sources if source.covers == "board"][:1]
    return board or list({source.covers: source for source in reversed(sources)}.values())


def main_meter(seconds: float = 2.0, *, rail: str | None = None, shunt_ohms: float | None = None) -> None:
    """Print the survey of this machine's power sources.

    Args:
        seconds: Seconds to read the sources for.
        rail: The rail or shunt to trust, see `find_sources`.
        shunt_ohms: True resistance of a hwmon sensor's shunt, in ohms.

    Raises:
        BadInput: If there is no such rail, or `shunt_ohms` is not above 0 or fits no current sensor.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console()
    if seconds <= _PROGRESS_FROM_SECONDS:
        console.print(survey(seconds, rail=rail, shunt_ohms=shunt_ohms))
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("reading the power sources", total=1.0)
        result = survey(
            seconds, rail=rail, shunt_ohms=shunt_ohms, tick=lambda share: progress.update(task, completed=share)
        )
    console.print(result)
