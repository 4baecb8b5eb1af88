"""The figure of the climbs of a study's runs up the ladder of remedies."""

from functools import partial
from typing import TYPE_CHECKING

from tbft.runs.ladder_plot import LOOKS, Step, draw_ladder, draw_standing
from tbft.study.reporting.chart import Chart, Panel
from tbft.study.reporting.record import Record
from tbft.study.reporting.results import ADAPTIVE, Results, Setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def ladders(results: Results) -> Chart:
    """Make the chart of the climbs, accuracy on the sample against CPU-seconds: a panel for each setting and drift."""
    panels = []
    for setting in results.settings():
        runs: dict[str, list[Record]] = {}
        for record in results.runs(setting, ADAPTIVE):
            if record.ladder:
                runs.setdefault(record.labels.get("drift") or record.drift, []).append(record)
        panels += [Panel(_title(setting, drift), partial(_panel, each)) for drift, each in runs.items()]
    caption = (
        "Accuracy on the device's labelled sample against CPU-seconds, one marker for each combination of remedies "
        "tried, named after its most expensive remedy: filled is accepted, hollow refused. Whiskers are 95 % "
        "intervals. The line is the best so far; thin lines are other seeds."
    )
    return Chart("Up the ladder of remedies", caption, panels, tuple(LOOKS))


def _title(setting: Setting, drift: str) -> str:
    which = ", ".join(filter(None, [setting.dataset, f"{setting.train_size} images", setting.variant]))
    return f"{drift}\n{which}" if drift else which


def _panel(runs: list[Record], axis: "Axes") -> None:
    first, *others = sorted(runs, key=lambda record: (record.seed, record.key))
    for record in others:
        draw_standing(axis, record.ladder, linewidth=0.5, alpha=0.6)
    draw_ladder(axis, first.ladder, _label)


def _label(step: Step) -> str:
    return step.rung if step.accepted else f"{step.rung}, refused"
