"""The figures of a report, among them the paper's figures from our own records."""

import statistics
from functools import partial
from typing import TYPE_CHECKING, Any

from tbft.study.reporting.ablation_table import WITHOUT
from tbft.study.reporting.chart import Chart, Panel
from tbft.study.reporting.chart_style import INK, look_of
from tbft.study.reporting.energy_figures import energy_by_phase, lead, learning_curves, pareto
from tbft.study.reporting.intervals import mean_sd
from tbft.study.reporting.ladder_figure import ladders
from tbft.study.reporting.page import LEAD
from tbft.study.reporting.pairs import per_seed
from tbft.study.reporting.results import Results, Setting, accuracy_of_base

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def all_figures(results: Results) -> dict[str, Chart]:
    """Make every figure that the records can fill.

    Args:
        results: The completed records. Ablated recipes are left out, because a table compares them.

    Returns:
        Charts by file name without its ending.
    """
    results = Results(record for record in results.records if not record.series.startswith(WITHOUT))
    front = pareto(results)
    drawn = {
        LEAD: lead(results, front),
        "bars": accuracy_bars(results),
        "pareto": front,
        "ladder": ladders(results),
        "phases": energy_by_phase(results),
        "curves": learning_curves(results),
    }
    return {name: chart for name, chart in drawn.items() if chart.panels}


def accuracy_bars(results: Results) -> Chart:
    """Make the paper's bar charts: a panel for each level and data set, a group of bars for each training size."""
    panels: dict[str, list[Setting]] = {}
    for setting in results.settings():
        panels.setdefault(results.title(setting, size=False), []).append(setting)
    caption = "Test accuracy by strategy; bars are means and whiskers standard deviations over seeds."
    return Chart(
        "Accuracy",
        caption,
        [Panel(title, partial(_bars, results, settings)) for title, settings in panels.items()],
    )


def _bars(results: Results, settings: list[Setting], axis: "Axes") -> None:
    names = results.series(*settings)
    for place, setting in enumerate(settings):
        _group(axis, place, results, setting, names)
    axis.set_xticks(range(len(settings)), [f"{setting.train_size} images" for setting in settings])
    axis.set_ylabel("test accuracy (%)")
    axis.grid(visible=False, axis="x")


def _group(axis: "Axes", place: int, results: Results, setting: Setting, names: list[str]) -> None:
    """Draw the bars of one setting, and the base model as a line across them."""
    width = min(0.84 / len(names), 0.3)
    accuracies = results.accuracies(setting)
    for index, name in enumerate(names):
        estimate = mean_sd([100 * value for value in per_seed(accuracies.get(name, {}))])
        if estimate is None:
            continue
        label = results.label(setting, name)
        look = look_of(label)
        error: dict[str, Any] = {"yerr": estimate.sd, "ecolor": INK, "capsize": 2} if estimate.sd else {}
        axis.bar(
            place + (index - (len(names) - 1) / 2) * width,
            estimate.value,
            width,
            color=look.colour,
            hatch=look.hatch,
            edgecolor=INK,
            linewidth=0.4,
            label=label,
            **error,
        )
    base = [value for name in names for value in per_seed(results.by_pair(setting, name, accuracy_of_base))]
    if base:
        ends, height = [place - 0.46, place + 0.46], 100 * statistics.fmean(base)
        axis.plot(ends, [height] * 2, color=INK, linestyle="--", linewidth=0.9, label="base model")
