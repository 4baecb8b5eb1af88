"""Parts of the meter's record: figures by phase, and what is needed to judge them."""

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
"""A phase is below the resolution if two standard deviations of its energy are more than this share of it."""


def by_phase(ledger: dict[str | None, Booked], figure: str) -> dict[str, float]:
    """Return one figure of each phase (0 for a usual phase that never ran) and the sum of the adaptation's phases.

    Args:
        ledger: Cost of each phase, from `book`.
        figure: An attribute of `Booked`: `total`, `wall_seconds` or `cpu_seconds`.

    Returns:
        The figure by name of the phase, and under `adaptation` the sum over the phases in `ADAPTATION`.
    """
    figures = dict.fromkeys((*ADAPTATION, "test"), 0.0)
    figures |= {phase: getattr(booked, figure) for phase, booked in ledger.items() if phase is not None}
    figures["adaptation"] = sum(figures[phase] for phase in ADAPTATION)
    return figures


def net_joules(ledger: dict[str | None, Booked], idle_watts: float) -> dict[str, float]:
    """Return the joules by phase, less those that the machine draws at rest in the same time.

    Args:
        ledger: Cost of each phase, from `book`.
        idle_watts: The machine's power at rest, in watts.
    """
    gross, wall = by_phase(ledger, "total"), by_phase(ledger, "wall_seconds")
    return {phase: gross[phase] - idle_watts * wall[phase] for phase in gross}


def uncertainty(ledger: dict[str | None, Booked]) -> tuple[dict[str, float], list[str]]:
    """Return the uncertainty of each phase's joules (two standard deviations), and the phases below the resolution.

    The uncertainty is that of the moments at which the power was read; the sensor's calibration is not in it.

    Args:
        ledger: Cost of each phase, from `book`.
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
    """Return the source of each part's power, and whether all of it was measured.

    Where a source was lost, the one that took over is named; `spans` says from when to when each source counted.

    Args:
        machine: The machine with its sources and readings.
        start: The beginning of the run, on the meter's clock.
        end: The end of the run, on the meter's clock.
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
    """Return what a reader must know about the sources that counted: assumptions, dropped readings, gaps.

    Args:
        machine: The machine with its sources and readings.
        start: The beginning of the run, on the meter's clock.
        end: The end of the run, on the meter's clock.
    """
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
    """Return power over time as tuples of seconds since the start, watts of the machine, and the phase then.

    Args:
        machine: The machine with its sources and readings.
        stretches: The run's stretches in order, without gaps, the open one included.
        start: The beginning of the run, on the meter's clock.
        end: The end of the run, on the meter's clock.
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
