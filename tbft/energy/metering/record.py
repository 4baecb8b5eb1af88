"""What the meter hands over at the end: joules by phase, and everything needed to judge them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tbft.energy.metering.booking import Booked
from tbft.energy.metering.machine import Machine
from tbft.energy.metering.phases import Stretch
from tbft.energy.sensors.source import PARTS
from tbft.schema import ADAPTATION

_LONG_GAP_SECONDS = 2.0

_TRUSTED_ERROR = 0.02
"""A window is below the resolution if two standard deviations of its energy are more than this share."""


def by_phase(ledger: dict[str | None, Booked], figure: str) -> dict[str, float]:
    """Returns one figure of each phase, the usual phases always among them, and their sum `adaptation`.

    Args:
        ledger: What each phase has cost.
        figure: An attribute of `Booked`: `total`, `wall_seconds` or `cpu_seconds`.
    """
    figures = dict.fromkeys((*ADAPTATION, "test"), 0.0)
    figures |= {phase: getattr(booked, figure) for phase, booked in ledger.items() if phase is not None}
    figures["adaptation"] = sum(figures[phase] for phase in ADAPTATION)
    return figures


def net_joules(ledger: dict[str | None, Booked], idle_watts: float) -> dict[str, float]:
    """Returns joules by phase without what the machine draws at rest.

    Args:
        ledger: What each phase has cost.
        idle_watts: The machine's power at rest.
    """
    gross, wall = by_phase(ledger, "total"), by_phase(ledger, "wall_seconds")
    return {phase: gross[phase] - idle_watts * wall[phase] for phase in gross}


def uncertainty(ledger: dict[str | None, Booked]) -> tuple[dict[str, float], list[str]]:
    """Returns the doubt in each phase's joules (two sigma), and the phases below the resolution.

    The doubt comes from when the power was read, not from how well the sensor is calibrated.
    """
    doubt, below = {}, []
    for phase, booked in ledger.items():
        if phase is None:
            continue
        doubt[phase] = 2.0 * math.sqrt(booked.variance)
        if doubt[phase] > _TRUSTED_ERROR * abs(booked.total):
            below.append(phase)
    return doubt, below


def energy_source(machine: Machine, start: float, end: float) -> dict[str, Any]:
    """Returns which source told the power of each part, and whether all of it was measured.

    Where a source was lost, the one that took over is named; `spans` tells from when to when each counted.

    Args:
        machine: The machine.
        start: The beginning of the run, on the meter's clock.
        end: Its end.
    """
    spans = list(machine.spans(start, end))
    last = {part: track.source for part, track, _, _ in spans}
    named: dict[str, Any]
    if "board" in last and machine.board.ends >= end:
        board = last["board"].name
        named = {"cpu": board, "ram": f"in {board}", "gpu": f"in {board}"}
    else:
        named = {part: last[part].name if part in last else "none" for part in PARTS}
    named["measured"] = bool(spans) and all(track.source.measured for _, track, _, _ in spans)
    named["spans"] = [
        {
            "part": part,
            "source": track.source.name,
            "measured": track.source.measured,
            "from_seconds": round(begin - start, 3),
            "to_seconds": round(until - start, 3),
        }
        for part, track, begin, until in spans
    ]
    return named


def source_notes(machine: Machine, start: float, end: float) -> list[str]:
    """Returns what a reader must know of the sources that counted: assumptions, dropped readings, gaps."""
    notes = []
    spans = list(machine.spans(start, end))
    for _, track, _, _ in spans:
        name = track.source.name
        if track.source.note and track.source.note not in notes:
            notes.append(track.source.note)
        if track.dropped and track.lost is None:
            notes.append(f"{name}: {track.dropped} readings dropped, the last: {track.last_fault}")
        gap = track.longest_gap()
        if track.source.measured and track.source.unit == "watts" and gap > _LONG_GAP_SECONDS:
            notes.append(f"{name}: no reading for {gap:.1f} s, bridged by a straight line")
    counted = {part for part, _, _, _ in spans}
    if machine.board.ends < end and "ram" not in counted:
        notes.append("RAM: not counted, neither sensor nor model")
    return notes


def power_trace(
    machine: Machine, stretches: Sequence[Stretch], start: float, end: float
) -> list[tuple[float, float, str | None]]:
    """Returns power over time: seconds since the start, watts of the machine, and the phase then.

    Args:
        machine: The machine.
        stretches: The run's stretches in order, without gaps, the open one included.
        start: The beginning of the run, on the meter's clock.
        end: Its end.
    """
    moments = {start, end, *(min(stretch.end, end) for stretch in stretches)}
    for _, track, begin, until in machine.spans(start, end):
        moments.update(moment for moment in track.times if begin <= moment <= until)
    points: list[tuple[float, float, str | None]] = []
    index = 0
    for moment in sorted(moments):
        while index + 1 < len(stretches) and moment > stretches[index].end:
            index += 1
        points.append((moment - start, machine.watts(moment), stretches[index].phase))
    return points
