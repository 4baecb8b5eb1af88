"""A picture of a run's power over time, with the phases marked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tbft.energy.metering.meter import EnergyMeter

_COLOURS = {
    # Okabe and Ito's palette, which readers with colour-blind eyes can tell apart.
    "prepare": "#56B4E9",
    "train": "#E69F00",
    "validate": "#009E73",
    "save": "#F0E442",
    "test": "#CC79A7",
}
_OTHER_COLOUR = "#BBBBBB"


def plot_power(meter: EnergyMeter, path_png: Path) -> None:
    """Draw a run's power over time, with phases as coloured bands and the sources of the power in the title.

    Args:
        meter: A meter that was started; its run may still go on.
        path_png: The file to write; its folder is made if need be.
    """
    record = meter.record()
    draw_power(meter.trace(), record["energy_source"], path_png, joules=record["joules"], void=record["void"])


def draw_power(
    trace: list[tuple[float, float, str | None]],
    energy_source: dict[str, Any],
    path_png: Path,
    *,
    joules: dict[str, float] | None = None,
    void: str | None = None,
) -> None:
    """Draw power over time.

    Args:
        trace: Seconds since the start, watts and phase of each reading, in order (see `EnergyMeter.trace`).
        energy_source: The entry `energy_source` of the meter's record.
        path_png: The file to write; its folder is made if need be.
        joules: Joules by phase, shown in the legend; None to show the names alone.
        void: The reason why the run cannot be compared with others, shown in the title; None if it can.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)  # no display, and no state of pyplot's
    axes = figure.add_subplot()
    for phase, start, end in bands(trace):
        axes.axvspan(start, end, color=_COLOURS.get(phase, _OTHER_COLOUR), alpha=0.35, linewidth=0)
    axes.plot([point[0] for point in trace], [point[1] for point in trace], color="black", linewidth=1.0)
    axes.set_xlabel("time / s")
    axes.set_ylabel("power of the machine / W")
    axes.set_ylim(0, 1.1 * max(1e-3, *(watts for _, watts, _ in trace)))
    axes.set_xlim(trace[0][0], max(trace[-1][0], trace[0][0] + 1e-3))
    title = source_title(energy_source)
    axes.set_title(f"{title}\nVOID: {void}" if void else title, fontsize=10)
    present = dict.fromkeys(phase for _, _, phase in trace if phase is not None)
    handles = [
        Patch(color=_COLOURS.get(phase, _OTHER_COLOUR), alpha=0.35, label=_label(phase, joules)) for phase in present
    ]
    if handles:
        axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    path_png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path_png, dpi=150)


def bands(trace: list[tuple[float, float, str | None]]) -> list[tuple[str, float, float]]:
    """Return name, beginning and end (in seconds) of each phase, in order; times outside of phases are left out.

    Args:
        trace: As for `draw_power`; a reading's phase is that of the time between the reading before it and it.
    """
    found: list[tuple[str, float, float]] = []
    previous = trace[0][0] if trace else 0.0
    for moment, _, phase in trace:
        if phase is not None:
            if found and found[-1][0] == phase and found[-1][2] == previous:
                found[-1] = (phase, found[-1][1], moment)
            else:
                found.append((phase, previous, moment))
        previous = moment
    return found


def source_title(energy_source: dict[str, Any]) -> str:
    """Return the title of the picture: whether the power is measured or modelled, and by which sources.

    Args:
        energy_source: The entry `energy_source` of the meter's record.
    """
    spans = energy_source.get("spans", [])
    measured = list(dict.fromkeys(span["source"] for span in spans if span["measured"]))
    modelled = list(dict.fromkeys(span["source"] for span in spans if not span["measured"]))
    words = [
        f"{how} ({', '.join(names)})"
        for how, names in (("measured", measured), ("modelled, not measured", modelled))
        if names
    ]
    return "Power " + " and ".join(words) if words else "Power: no source"


def _label(phase: str, joules: dict[str, float] | None) -> str:
    return phase if joules is None or phase not in joules else f"{phase}  {joules[phase]:.3g} J"
