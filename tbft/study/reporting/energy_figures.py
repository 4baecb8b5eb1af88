"""Figures of energy: accuracy against joules, joules by phase, and learning curves over joules."""

import statistics
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING

from tbft.schema import ADAPTATION
from tbft.study.reporting.chart_style import (
    PHASE_LOOKS,
    draw_panels,
    log_joules,
    look_of,
    name_panel,
    size_of,
)
from tbft.study.reporting.costs import DISTURBED, JOULES, cost_of, undisturbed
from tbft.study.reporting.intervals import Estimate, mean_sd
from tbft.study.reporting.pairs import per_seed
from tbft.study.reporting.record import CurvePoint, Record
from tbft.study.reporting.results import Results, Setting
from tbft.study.reporting.table_parts import energy_kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def pareto(results: Results) -> "Figure | None":
    """Accuracy against joules: one marker a strategy, and the front of those that no other beats in both."""
    panels = [s for s in results.settings() if len(_points(results, s)) > 1]
    return draw_panels(panels, partial(_pareto_panel, results))


def _pareto_panel(results: Results, axis: "Axes", setting: Setting) -> None:
    points = _points(results, setting)
    for name, (joules, accuracy) in points.items():
        look = look_of(name)
        axis.errorbar(
            joules,
            accuracy.value,
            yerr=accuracy.sd,
            color=look.colour,
            marker=look.marker,
            markersize=7,
            markeredgecolor="black",
            markeredgewidth=0.6,
            linestyle="none",
            capsize=2,
            label=name,
            zorder=3,
        )
    front = pareto_front([(joules, accuracy.value) for joules, accuracy in points.values()])
    axis.plot(*zip(*front, strict=True), color="black", linewidth=0.9, zorder=2, label="Pareto front")
    log_joules(axis)
    axis.set_xlabel(f"joules for one adaptation ({_kind(results, setting)})")
    axis.set_ylabel("test accuracy (%)")
    name_panel(axis, setting, results.level_block(setting), size_of(setting))


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those of the (cost, value) points that no other beats: cheaper and as good, or as cheap and better.

    >>> pareto_front([(1, 50), (2, 40), (3, 70)])
    [(1, 50), (3, 70)]
    """
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or value > front[-1][1]:
            front.append((cost, value))
    return front


def energy_by_phase(results: Results) -> "Figure | None":
    """Stacked bars: median joules of each phase, one bar a strategy, one panel a setting."""
    panels = [s for s in results.settings() if _points(results, s)]
    return draw_panels(panels, partial(_phases_panel, results))


def _phases_panel(results: Results, axis: "Axes", setting: Setting) -> None:
    names = list(_points(results, setting))
    bottom = [0.0] * len(names)
    for phase, (colour, hatch) in zip(ADAPTATION, PHASE_LOOKS, strict=True):
        heights = [_phase_joules(results.runs(setting, name), phase) for name in names]
        axis.bar(
            names,
            heights,
            bottom=bottom,
            color=colour,
            hatch=hatch,
            edgecolor="black",
            linewidth=0.4,
            label=phase,
        )
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axis.set_ylabel(f"joules ({_kind(results, setting)})")
    axis.tick_params(axis="x", rotation=60)
    axis.grid(visible=False, axis="x")
    name_panel(axis, setting, results.level_block(setting), size_of(setting))


def learning_curves(results: Results) -> "Figure | None":
    """Validation accuracy over the joules spent: a curve a strategy, its median, before a thin line for each run."""
    panels = [s for s in results.settings() if _curves(results, s)]
    return draw_panels(panels, partial(_curves_panel, results))


def _curves_panel(results: Results, axis: "Axes", setting: Setting) -> None:
    for name, curves in _curves(results, setting).items():
        look = look_of(name)
        for curve in curves:
            axis.plot(*_line(curve), color=look.colour, linewidth=0.5, alpha=0.4, zorder=1)
        axis.plot(
            *_line(median_curve(curves)),
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markersize=4,
            markeredgecolor="black",
            markeredgewidth=0.3,
            label=name,
            zorder=2,
        )
    log_joules(axis)
    axis.set_xlabel(f"joules since the start ({_kind(results, setting, every=True)})")
    axis.set_ylabel("validation accuracy (%)")
    name_panel(axis, setting, results.level_block(setting), size_of(setting))


def median_curve(curves: Sequence[Sequence[CurvePoint]]) -> list[CurvePoint]:
    """Medians of joules and of accuracy at each validation, as far as at least half of the runs went."""
    reached = ([point for point in points if point is not None] for points in zip_longest(*curves))
    return [
        CurvePoint(statistics.median(p.accuracy for p in points), statistics.median(p.joules for p in points))
        for points in reached
        if 2 * len(points) >= len(curves)
    ]


def _line(curve: Sequence[CurvePoint]) -> tuple[list[float], list[float]]:
    return [point.joules for point in curve], [100 * point.accuracy for point in curve]


def _points(results: Results, setting: Setting) -> dict[str, tuple[float, Estimate]]:
    """Median joules, and accuracy in % over seeds, of each strategy that has both."""
    points = {}
    for name, column in results.accuracies(setting).items():
        joules = cost_of(results, setting, name, JOULES)
        accuracy = mean_sd([100 * value for value in per_seed(column)])
        if joules is not None and joules.value > 0 and accuracy is not None:
            points[name] = (joules.value, accuracy)
    return points


def _phase_joules(runs: Sequence[Record], phase: str) -> float:
    values = [run.joules[phase] for run in undisturbed(runs) if phase in run.joules]
    return statistics.median(values) if values else 0.0


def _curves(results: Results, setting: Setting) -> dict[str, list[tuple[CurvePoint, ...]]]:
    """Curves of all runs, also beside other programs: a curve of fewer drifts would be another curve."""
    runs = {name: results.runs(setting, name) for name in results.series(setting)}
    curves = {name: [run.curve for run in each if run.curve and not run.void] for name, each in runs.items()}
    return {name: each for name, each in curves.items() if each}


def _kind(results: Results, setting: Setting, every: bool = False) -> str:
    """Whether the joules of a panel, of every run or the undisturbed, are measured, and whether only the runs are in.

    Args:
        results: The completed records.
        setting: The panel.
        every: Whether runs beside other programs are shown where there are others.
    """
    each = [results.runs(setting, name) for name in results.series(setting)]
    runs = [run for shown in each for run in (shown if every else undisturbed(shown))]
    return energy_kind(runs) + (DISTURBED if any(run.disturbed for run in runs) else "")
