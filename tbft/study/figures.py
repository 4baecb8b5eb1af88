"""The paper's figures from our own records."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tbft.study.chart_style import COLOURS, HATCHES, new_figure, shared_legend, style, style_of
from tbft.study.pairs import per_seed
from tbft.study.record import LEVEL_BLOCK, PHASES, Record
from tbft.study.results import Results, Setting, accuracy_of_base, adaptation_joules
from tbft.study.rows import energy_kind
from tbft.study.statistics import mean_sd

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def all_figures(results: Results) -> "dict[str, tuple[str, Figure]]":
    """Draw every figure that the records can fill.

    Args:
        results: The completed records.

    Returns:
        File name without its ending, to a one-line caption and the figure.
    """
    with style():
        drawn = {
            "bars": (
                "Test accuracy by strategy; bars are means and whiskers standard deviations over seeds",
                accuracy_bars(results),
            ),
            "pareto": (
                "Test accuracy against the energy of one adaptation; the line is the Pareto front",
                pareto(results),
            ),
            "phases": ("Where the energy of one adaptation goes (medians)", energy_by_phase(results)),
            "curves": ("Validation accuracy against energy spent, one line a run", learning_curves(results)),
        }
    return {name: (caption, figure) for name, (caption, figure) in drawn.items() if figure is not None}


def accuracy_bars(results: Results) -> "Figure | None":
    """The paper's bar charts: one panel a level and data set, a group of bars for each training size."""
    panels = _panels(results)
    if not panels:
        return None
    figure, axes = new_figure(len(panels))
    for axis, settings in zip(axes, panels, strict=True):
        names = results.series(*settings)
        width = 0.84 / len(names)
        for place, setting in enumerate(settings):
            accuracies = results.accuracies(setting)
            for index, name in enumerate(names):
                estimate = mean_sd([100 * value for value in per_seed(accuracies.get(name, {}))])
                if estimate is None:
                    continue
                left = place + (index - (len(names) - 1) / 2) * width
                colour, hatch, _ = style_of(name)
                error: dict[str, Any] = {"yerr": estimate.sd, "ecolor": "black", "capsize": 2} if estimate.sd else {}
                label = name if place == 0 else None
                axis.bar(
                    left,
                    estimate.value,
                    width,
                    color=colour,
                    hatch=hatch,
                    edgecolor="black",
                    linewidth=0.4,
                    label=label,
                    **error,
                )
            base = [value for name in names for value in per_seed(results.by_pair(setting, name, accuracy_of_base))]
            if base:
                line: dict[str, Any] = {"color": "black", "linestyle": "--", "linewidth": 0.9}
                axis.plot(
                    [place - 0.46, place + 0.46],
                    [100 * statistics.fmean(base)] * 2,
                    **line,
                    label="base model" if place == 0 else None,
                )
        axis.set_xticks(range(len(settings)), [_size(s) for s in settings])
        axis.set_title(f"{_title(settings[0])}\n{_tuned(settings[0]).removesuffix(', ')}", fontsize=9)
        axis.set_ylabel("test accuracy (%)")
        axis.grid(visible=False, axis="x")
    shared_legend(figure, axes)
    return figure


def pareto(results: Results) -> "Figure | None":
    """Accuracy against joules: one marker a strategy, and the front of those that no other beats in both."""
    from matplotlib.ticker import LogLocator, NullFormatter

    panels = [[s] for s in results.settings() if len(_points(results, s)) > 1]
    if not panels:
        return None
    figure, axes = new_figure(len(panels))
    for axis, (setting,) in zip(axes, panels, strict=True):
        points = _points(results, setting)
        for name, (joules, accuracy) in points.items():
            colour, _, marker = style_of(name)
            axis.scatter(
                joules,
                accuracy,
                s=46,
                color=colour,
                marker=marker,
                edgecolor="black",
                linewidth=0.6,
                label=name,
                zorder=3,
            )
        front = pareto_front(list(points.values()))
        axis.plot(*zip(*front, strict=True), color="black", linewidth=0.9, zorder=2, label="Pareto front")
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel(f"joules for one adaptation ({_kind(results, [setting])})")
        axis.set_ylabel("test accuracy (%)")
        axis.set_title(f"{_title(setting)}\n{_tuned(setting)}{_size(setting)}", fontsize=9)
    shared_legend(figure, axes)
    return figure


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
    panels = [[s] for s in results.settings() if _points(results, s)]
    if not panels:
        return None
    figure, axes = new_figure(len(panels))
    for axis, (setting,) in zip(axes, panels, strict=True):
        names = list(_points(results, setting))
        bottom = [0.0] * len(names)
        for index, phase in enumerate(PHASES):
            heights = [_phase_joules(results.runs(setting, name), phase) for name in names]
            axis.bar(
                names,
                heights,
                bottom=bottom,
                color=COLOURS[index],
                hatch=HATCHES[index],
                edgecolor="black",
                linewidth=0.4,
                label=phase,
            )
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
        axis.set_ylabel(f"joules ({_kind(results, [setting])})")
        axis.tick_params(axis="x", rotation=60)
        axis.grid(visible=False, axis="x")
        axis.set_title(f"{_title(setting)}\n{_tuned(setting)}{_size(setting)}", fontsize=9)
    shared_legend(figure, axes)
    return figure


def learning_curves(results: Results) -> "Figure | None":
    """Validation accuracy over the joules spent: one line a run, one colour a strategy."""
    panels = [[s] for s in results.settings() if any(_curves(results, s).values())]
    if not panels:
        return None
    figure, axes = new_figure(len(panels))
    for axis, (setting,) in zip(axes, panels, strict=True):
        for name, runs in _curves(results, setting).items():
            colour, _, marker = style_of(name)
            for index, run in enumerate(runs):
                joules, accuracy = [p.joules for p in run.curve], [100 * p.accuracy for p in run.curve]
                axis.plot(
                    joules,
                    accuracy,
                    color=colour,
                    marker=marker,
                    markersize=3,
                    linewidth=1,
                    alpha=0.8,
                    label=None if index else name,
                )
        axis.set_xlabel(f"joules since the start ({_kind(results, [setting])})")
        axis.set_ylabel("validation accuracy (%)")
        axis.set_title(f"{_title(setting)}\n{_tuned(setting)}{_size(setting)}", fontsize=9)
    shared_legend(figure, axes)
    return figure


def _panels(results: Results) -> list[list[Setting]]:
    """Settings of the same level and data set, which share a panel."""
    panels: dict[tuple[str, str], list[Setting]] = {}
    for setting in results.settings():
        panels.setdefault((setting.level, setting.dataset), []).append(setting)
    return list(panels.values())


def _title(setting: Setting) -> str:
    return f"{setting.level} level, {setting.dataset}" if setting.level else setting.dataset


def _tuned(setting: Setting) -> str:
    own = LEVEL_BLOCK.get(setting.level)
    return f"TBFT tunes {own}, " if own else ""


def _size(setting: Setting) -> str:
    return f"{setting.train_size} images" + (f"\n{setting.variant}" if setting.variant else "")


def _points(results: Results, setting: Setting) -> dict[str, tuple[float, float]]:
    """Median joules and mean accuracy in % of each strategy that has both."""
    points = {}
    for name in results.series(setting):
        joules = list(results.by_pair(setting, name, adaptation_joules).values())
        accuracy = per_seed(results.accuracies(setting)[name])
        if joules and statistics.median(joules) > 0:
            points[name] = (statistics.median(joules), 100 * statistics.fmean(accuracy))
    return points


def _phase_joules(runs: Sequence[Record], phase: str) -> float:
    values = [run.joules[phase] for run in runs if phase in run.joules and not run.void]
    return statistics.median(values) if values else 0.0


def _curves(results: Results, setting: Setting) -> dict[str, list[Record]]:
    runs = {name: results.runs(setting, name) for name in results.series(setting)}
    return {name: [run for run in each if run.curve and not run.void] for name, each in runs.items()}


def _kind(results: Results, settings: Sequence[Setting]) -> str:
    return energy_kind([run for s in settings for name in results.series(s) for run in results.runs(s, name)])
