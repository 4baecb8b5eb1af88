"""Figures of energy: accuracy against joules, joules by phase, and learning curves over joules."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING

from tbft.schema import ADAPTATION
from tbft.study.reporting.answer import settings_to_tell
from tbft.study.reporting.chart import Chart, Panel
from tbft.study.reporting.chart_style import INK, PHASE_LOOKS, log_joules, look_of
from tbft.study.reporting.costs import DISTURBED, JOULES, PROCESS_JOULES, Cost, cost_of, undisturbed
from tbft.study.reporting.intervals import Estimate, mean_sd
from tbft.study.reporting.pairs import per_seed
from tbft.study.reporting.record import CurvePoint, Record
from tbft.study.reporting.results import Results, Setting, process_joules
from tbft.study.reporting.table_parts import energy_kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 10  # least span of an axis of accuracy in points, so that chance does not look like a difference
_FRONT = "The line is the Pareto front, whiskers are standard deviations over seeds."


@dataclass(frozen=True)
class Energy:
    """A kind of energy that figures show.

    Attributes:
        cost: The figure of a run, in joules.
        of: What the joules are of, in words.
    """

    cost: Cost
    of: str


ADAPTATION_ENERGY = Energy(JOULES, "one adaptation")
PROCESS_ENERGY = Energy(PROCESS_JOULES, "the whole process, testing left out")


def pareto(results: Results) -> Chart:
    """Make the chart of accuracy against joules of the adaptation: a marker for each strategy, and the Pareto front."""
    return Chart(
        "Accuracy against energy",
        f"Test accuracy against the energy of {ADAPTATION_ENERGY.of}. {_FRONT}",
        accuracy_against(ADAPTATION_ENERGY, results, results.settings()),
    )


def lead(results: Results, front: Chart) -> Chart:
    """Make the chart of accuracy against joules for the settings of the answer.

    The joules are those of the whole process if all records have them, else those of the adaptation.

    Args:
        results: The completed records.
        front: The chart that `pareto` made; it is returned if this chart would be the same.
    """
    settings = settings_to_tell(results)
    if all(process_joules(record) is not None for record in results.records if record.joules and not record.void):
        caption = f"Test accuracy against the energy of {PROCESS_ENERGY.of}. {_FRONT}"
        return Chart(front.title, caption, accuracy_against(PROCESS_ENERGY, results, settings))
    if len(settings) == len(results.settings()):
        return front
    return replace(front, panels=accuracy_against(ADAPTATION_ENERGY, results, settings))


def accuracy_against(energy: Energy, results: Results, settings: Sequence[Setting]) -> list[Panel]:
    """Make a panel for each setting in which at least two strategies have a kind of energy.

    Args:
        energy: The energy on the x axis.
        results: The completed records.
        settings: Settings in the order of the panels.
    """
    return [
        Panel(results.title(setting), partial(_pareto_panel, energy, results, setting))
        for setting in settings
        if len(_points(results, setting, energy.cost)) > 1
    ]


def _pareto_panel(energy: Energy, results: Results, setting: Setting, axis: "Axes") -> None:
    points = _points(results, setting, energy.cost)
    for name, (joules, accuracy) in points.items():
        label = results.label(setting, name)
        look = look_of(label)
        axis.errorbar(
            joules,
            accuracy.value,
            yerr=accuracy.sd,
            color=look.colour,
            marker=look.marker,
            markersize=7,
            markerfacecolor=look.colour if look.filled else "none",
            markeredgecolor=INK if look.filled else look.colour,
            markeredgewidth=0.6 if look.filled else 1.4,
            linestyle="none",
            capsize=2,
            label=label,
            zorder=3,
        )
    front = pareto_front([(joules, accuracy.value) for joules, accuracy in points.values()])
    axis.plot(*zip(*front, strict=True), color=INK, linewidth=0.9, zorder=2, label="Pareto front")
    log_joules(axis)
    axis.set_ylim(*at_least(_POINTS, *axis.get_ylim()))
    axis.set_xlabel(f"joules of {energy.of} ({_kind(results, setting)})")
    axis.set_ylabel("test accuracy (%)")


def at_least(span: float, low: float, high: float) -> tuple[float, float]:
    """Widen two limits about their middle to a least span.

    >>> at_least(10, 76, 78), at_least(10, 0, 80)
    ((72.0, 82.0), (0, 80))
    """
    middle = (low + high) / 2
    return (low, high) if high - low >= span else (middle - span / 2, middle + span / 2)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the (cost, value) points with a higher value than every cheaper point, by rising cost.

    >>> pareto_front([(1, 50), (2, 40), (3, 70)])
    [(1, 50), (3, 70)]
    """
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or value > front[-1][1]:
            front.append((cost, value))
    return front


def energy_by_phase(results: Results) -> Chart:
    """Make the chart of median joules by phase: a stacked bar for each strategy, a panel for each setting."""
    panels = [
        Panel(results.title(setting), partial(_phases_panel, results, setting))
        for setting in results.settings()
        if _points(results, setting, JOULES)
    ]
    return Chart("Energy by phase", "Where the energy of one adaptation goes (medians).", panels, ADAPTATION)


def _phases_panel(results: Results, setting: Setting, axis: "Axes") -> None:
    names = list(_points(results, setting, JOULES))
    labels = [results.label(setting, name) for name in names]
    bottom = [0.0] * len(names)
    for phase, (colour, hatch) in zip(ADAPTATION, PHASE_LOOKS, strict=True):
        heights = [_phase_joules(results.runs(setting, name), phase) for name in names]
        axis.bar(
            labels,
            heights,
            bottom=bottom,
            color=colour,
            hatch=hatch,
            edgecolor=INK,
            linewidth=0.4,
            label=phase,
        )
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axis.set_ylabel(f"joules ({_kind(results, setting)})")
    axis.tick_params(axis="x", rotation=60)
    axis.grid(visible=False, axis="x")


def learning_curves(results: Results) -> Chart:
    """Make the chart of validation accuracy over joules: a median curve for each strategy, a thin line for each run."""
    panels = [
        Panel(results.title(setting), partial(_curves_panel, results, setting))
        for setting in results.settings()
        if _curves(results, setting)
    ]
    caption = "Validation accuracy against energy spent; thin lines are all runs, thick ones their medians."
    return Chart("Learning curves", caption, panels)


def _curves_panel(results: Results, setting: Setting, axis: "Axes") -> None:
    for name, curves in _curves(results, setting).items():
        label = results.label(setting, name)
        look = look_of(label)
        for curve in curves:
            axis.plot(*_line(curve), color=look.colour, linewidth=0.5, alpha=0.4, zorder=1)
        axis.plot(
            *_line(median_curve(curves)),
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markersize=4,
            markeredgecolor=INK,
            markeredgewidth=0.3,
            label=label,
            zorder=2,
        )
    log_joules(axis)
    axis.set_xlabel(f"joules since the start ({_kind(results, setting, every=True)})")
    axis.set_ylabel("validation accuracy (%)")


def median_curve(curves: Sequence[Sequence[CurvePoint]]) -> list[CurvePoint]:
    """Return the medians of joules and accuracy at each validation that at least half of the runs reached."""
    reached = ([point for point in points if point is not None] for points in zip_longest(*curves))
    return [
        CurvePoint(statistics.median(p.accuracy for p in points), statistics.median(p.joules for p in points))
        for points in reached
        if 2 * len(points) >= len(curves)
    ]


def _line(curve: Sequence[CurvePoint]) -> tuple[list[float], list[float]]:
    return [point.joules for point in curve], [100 * point.accuracy for point in curve]


def _points(results: Results, setting: Setting, cost: Cost) -> dict[str, tuple[float, Estimate]]:
    """Return median joules, and accuracy in % over seeds, of each strategy that has both."""
    points = {}
    for name, column in results.accuracies(setting).items():
        joules = cost_of(results, setting, name, cost)
        accuracy = mean_sd([100 * value for value in per_seed(column)])
        if joules is not None and joules.value > 0 and accuracy is not None:
            points[name] = (joules.value, accuracy)
    return points


def _phase_joules(runs: Sequence[Record], phase: str) -> float:
    values = [run.joules[phase] for run in undisturbed(runs) if phase in run.joules]
    return statistics.median(values) if values else 0.0


def _curves(results: Results, setting: Setting) -> dict[str, list[tuple[CurvePoint, ...]]]:
    """Return the curves of all runs, also those beside other programs: without them a median would lack some drifts."""
    runs = {name: results.runs(setting, name) for name in results.series(setting)}
    curves = {name: [run.curve for run in each if run.curve and not run.void] for name, each in runs.items()}
    return {name: each for name, each in curves.items() if each}


def _kind(results: Results, setting: Setting, every: bool = False) -> str:
    """Say whether the joules of a panel are measured or modelled, with a mark if they include other programs'.

    Args:
        results: The completed records.
        setting: The setting of the panel.
        every: Whether the panel shows all runs, or only undisturbed ones if there are any.
    """
    each = [results.runs(setting, name) for name in results.series(setting)]
    runs = [run for shown in each for run in (shown if every else undisturbed(shown))]
    return energy_kind(runs) + (DISTURBED if any(run.disturbed for run in runs) else "")
