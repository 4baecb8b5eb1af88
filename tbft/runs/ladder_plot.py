"""A picture of the climb up the ladder of remedies: accuracy against CPU-seconds of each combination that was tried."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

log = logging.getLogger(__name__)

LOOKS = {
    # Okabe and Ito's palette, which colour-blind readers can tell apart, and a marker for each rung.
    "keep": ("#999999", "o"),
    "prior": ("#F0E442", "v"),
    "relabel": ("#CC79A7", "s"),
    "merge": ("#882255", "p"),
    "refresh": ("#56B4E9", "^"),
    "head": ("#009E73", "P"),
    "align": ("#E69F00", "D"),
    "block": ("#D55E00", "X"),
    "full": ("#0072B2", "*"),
}
"""Colour and marker of each rung of the ladder, the cheapest remedy first."""

_INK = "#1a1a1a"


@dataclass(frozen=True)
class Step:
    """One combination of remedies that was tried.

    Attributes:
        remedies: Names of the remedies, in the order in which they apply.
        accuracy: Accuracy estimated on the sample, a fraction of 1.
        low: Lower end of the accuracy's confidence interval.
        high: Upper end of the accuracy's confidence interval.
        cpu_seconds: CPU-seconds of this step and all before it.
        accepted: Whether this combination replaced the one that was accepted before.
    """

    remedies: tuple[str, ...]
    accuracy: float
    low: float
    high: float
    cpu_seconds: float
    accepted: bool

    @property
    def rung(self) -> str:
        """The most expensive of the remedies, by the order of ``LOOKS``."""
        kinds = ["block" if name.endswith("block") else name for name in self.remedies]
        return max(kinds, key=lambda kind: list(LOOKS).index(kind) if kind in LOOKS else -1)


def steps_of(record: Mapping[str, Any]) -> list[Step]:
    """Read the steps of a climb from a run's record; empty if there was no climb.

    Steps without CPU-seconds of their own share one time: together they took what the adaptation took beyond the other
    steps. A step without an accuracy is left out, but its time counts.
    """
    remedies = record.get("remedies") or ()
    steps, spent = [], 0.0
    if any(tried.get("cpu_seconds") is None for tried in remedies):
        adaptation = (record.get("cpu_seconds") or {}).get("adaptation") or 0.0
        spent = max(0.0, adaptation - sum(tried.get("cpu_seconds") or 0.0 for tried in remedies))
    for tried in remedies:
        spent += tried.get("cpu_seconds") or 0.0
        accuracy = tried.get("accuracy")
        if accuracy:
            value, low, high = (float(accuracy[name]) for name in ("value", "low", "high"))
            steps.append(Step(tuple(tried["remedies"]), value, low, high, spent, bool(tried["accepted"])))
    return steps


def plot_ladder(record: Mapping[str, Any], path_png: Path) -> Path | None:
    """Draw a run's climb.

    Args:
        record: Record of the run.
        path_png: File of the picture.

    Returns:
        The file; `None` if there was no climb or drawing fails, which is logged and does not fail the run.
    """
    steps = steps_of(record)
    if not steps:
        return None
    try:
        _plot(steps, path_png)
    except Exception as error:  # a picture must not fail a run that is done
        log.warning("%s was not drawn: %s", path_png, error)
        return None
    return path_png


def _plot(steps: Sequence[Step], path_png: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)  # no display, and no state of pyplot's
    axes = figure.add_subplot()
    refused = Counter(step.rung for step in steps if not step.accepted)

    def label(step: Step) -> str:
        if not step.accepted:
            return f"refused: {step.rung}" + (f" ({refused[step.rung]})" if refused[step.rung] > 1 else "")
        return f"{' + '.join(step.remedies)}: {100 * step.accuracy:.1f} %"

    draw_ladder(axes, steps, label)
    title = "Up the ladder: filled is accepted, hollow refused; 95 % intervals of the sample"
    axes.set_title(title, fontsize=10, loc="left")
    handles, labels = axes.get_legend_handles_labels()
    named = dict(sorted(zip(labels, handles, strict=True), key=lambda entry: entry[0].startswith("refused")))
    axes.legend(list(named.values()), list(named), loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig(path_png, dpi=150)


def draw_ladder(axes: Axes, steps: Sequence[Step], label: Callable[[Step], str]) -> None:
    """Draw the steps of a climb: filled markers for accepted steps, hollow ones for refused steps, a line between.

    The line is that of `draw_standing`.

    Args:
        axes: Axes to draw on.
        steps: Steps, as `steps_of` returns them.
        label: A function that returns a step's entry in the legend.
    """
    draw_standing(axes, steps, linewidth=1.0)
    for step in steps:
        colour, marker = LOOKS.get(step.rung, LOOKS["keep"])
        whiskers = [[100 * (step.accuracy - step.low)], [100 * (step.high - step.accuracy)]]
        axes.errorbar(
            [step.cpu_seconds],
            [100 * step.accuracy],
            yerr=whiskers,
            color=colour,
            elinewidth=1.2 if step.accepted else 0.5,
            marker=marker,
            markersize=8 if step.accepted else 5,
            markerfacecolor=colour if step.accepted else "none",
            markeredgecolor=_INK if step.accepted else colour,
            markeredgewidth=0.6 if step.accepted else 1.0,
            linestyle="none",
            capsize=2 if step.accepted else 0,
            label=label(step),
            zorder=3 if step.accepted else 2,
        )
    axes.set_xlabel("CPU-seconds of the climb")
    axes.set_ylabel("accuracy on the sample (%)")
    axes.set_ylim(0, 103)
    end = max(1e-3, axes.get_xlim()[1])
    axes.set_xlim(-0.03 * end, 1.06 * end)


def draw_standing(axes: Axes, steps: Sequence[Step], *, linewidth: float, alpha: float = 1.0) -> None:
    """Draw the accuracy of the latest accepted step at each time, from the first one to the end of the climb.

    Args:
        axes: Axes to draw on.
        steps: Steps, as `steps_of` returns them.
        linewidth: Width of the line in points.
        alpha: Opacity of the line, from 0 to 1.
    """
    stood = [(step.cpu_seconds, 100 * step.accuracy) for step in steps if step.accepted]
    if stood:
        stood.append((steps[-1].cpu_seconds, stood[-1][1]))
        axes.step(*zip(*stood, strict=True), where="post", color=_INK, linewidth=linewidth, alpha=alpha, zorder=1)
