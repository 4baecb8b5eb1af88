"""The paper's figures from our own records."""

import statistics
from functools import partial
from typing import TYPE_CHECKING, Any

from tbft.study.reporting.chart_style import draw_panels, look_of, name_panel, size_of, style
from tbft.study.reporting.energy_figures import energy_by_phase, learning_curves, pareto
from tbft.study.reporting.intervals import mean_sd
from tbft.study.reporting.pairs import per_seed
from tbft.study.reporting.results import Results, Setting, accuracy_of_base
from tbft.study.reporting.table_parts import cost_notes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def all_figures(results: Results) -> "dict[str, tuple[str, Figure]]":
    """Draw every figure that the records can fill.

    Args:
        results: The completed records.

    Returns:
        File name without its ending, to a caption of whole sentences and the figure.
    """
    costs = " ".join(["", *cost_notes(results.records)])
    with style():
        drawn = {
            "bars": (
                "Test accuracy by strategy; bars are means and whiskers standard deviations over seeds.",
                accuracy_bars(results),
            ),
            "pareto": (
                "Test accuracy against the energy of one adaptation; the line is the Pareto front, whiskers are "
                f"standard deviations over seeds.{costs}",
                pareto(results),
            ),
            "phases": (f"Where the energy of one adaptation goes (medians).{costs}", energy_by_phase(results)),
            "curves": (
                "Validation accuracy against energy spent; thin lines are all runs, thick ones their medians at each "
                f"validation.{costs}",
                learning_curves(results),
            ),
        }
    return {name: (caption, figure) for name, (caption, figure) in drawn.items() if figure is not None}


def accuracy_bars(results: Results) -> "Figure | None":
    """The paper's bar charts: one panel a level and data set, a group of bars for each training size."""
    return draw_panels(_panels(results), partial(_bars, results))


def _bars(results: Results, axis: "Axes", settings: list[Setting]) -> None:
    names = results.series(*settings)
    for place, setting in enumerate(settings):
        _group(axis, place, results, setting, names)
    axis.set_xticks(range(len(settings)), [size_of(s) for s in settings])
    axis.set_ylabel("test accuracy (%)")
    axis.grid(visible=False, axis="x")
    name_panel(axis, settings[0], results.level_block(settings[0]))


def _group(axis: "Axes", place: int, results: Results, setting: Setting, names: list[str]) -> None:
    """The bars of one setting, and the base model as a line across them."""
    width = 0.84 / len(names)
    accuracies = results.accuracies(setting)
    for index, name in enumerate(names):
        estimate = mean_sd([100 * value for value in per_seed(accuracies.get(name, {}))])
        if estimate is None:
            continue
        look = look_of(name)
        error: dict[str, Any] = {"yerr": estimate.sd, "ecolor": "black", "capsize": 2} if estimate.sd else {}
        axis.bar(
            place + (index - (len(names) - 1) / 2) * width,
            estimate.value,
            width,
            color=look.colour,
            hatch=look.hatch,
            edgecolor="black",
            linewidth=0.4,
            label=name,
            **error,
        )
    base = [value for name in names for value in per_seed(results.by_pair(setting, name, accuracy_of_base))]
    if base:
        ends, height = [place - 0.46, place + 0.46], 100 * statistics.fmean(base)
        axis.plot(ends, [height] * 2, color="black", linestyle="--", linewidth=0.9, label="base model")


def _panels(results: Results) -> list[list[Setting]]:
    """Settings of the same level and data set, which share a panel."""
    panels: dict[tuple[str, str], list[Setting]] = {}
    for setting in results.settings():
        panels.setdefault((setting.level, setting.dataset), []).append(setting)
    return list(panels.values())
