"""Style of all figures: colours that colour-blind readers can tell apart, hatches and markers for print."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from tbft.study.reporting.results import ORDER, Setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Shown = TypeVar("Shown")


@dataclass(frozen=True)
class Look:
    """How a strategy is drawn, the same in every figure.

    Attributes:
        colour: Of bars, lines and markers.
        hatch: Of bars, for print.
        marker: Of points.
        line: Of lines.
    """

    colour: str
    hatch: str
    marker: str
    line: str


# Okabe and Ito, "Color Universal Design" (2008), its yellow a little darker to be seen on white. Eight colours do not
# reach: the others are chosen to stay apart from these and from one another under deuteranopia and protanopia.
LOOKS = {
    "none": Look("#BBBBBB", "", "o", ":"),
    "bn": Look("#56B4E9", "", "s", ":"),
    "block": Look("#D55E00", "", "D", "-"),
    "auto": Look("#6666FF", "--", "H", "-"),
    "block1": Look("#E69F00", "", "^", "-"),
    "block2": Look("#009E73", "", "v", "-"),
    "block3": Look("#0072B2", "", "P", "-"),
    "block4": Look("#99DD88", "", "X", "-"),
    "fc": Look("#E0D030", "..", "*", "-"),
    "block2+block3": Look("#88CCEE", "xx", "<", "-."),
    "head": Look("#554400", "xx", ">", "-."),
    "auto-rgn": Look("#4411AA", "xx", "h", "-."),
    "tuned-full": Look("#CC79A7", "///", "d", "--"),
    "paper-full": Look("#882255", "\\\\\\", "p", "--"),
    "full": Look("#333333", "", "8", "--"),
}
OTHERS = ("#117733", "#999933", "#CC6677")  # of strategies of one's own
PHASE_LOOKS = (("#999999", ""), ("#56B4E9", "///"), ("#D55E00", "..."), ("#E69F00", "xx"))
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "path",
    "svg.hashsalt": "tbft",
}


def style() -> AbstractContextManager[None]:
    """Matplotlib's settings for drawing and for saving."""
    from matplotlib import rc_context

    return rc_context(STYLE)


def save_png(figure: "Figure", file: Path) -> None:
    """Write a figure at 200 dpi, the same bytes for the same records."""
    with style():
        figure.savefig(file, format="png", dpi=200, metadata={"Software": None})


def save_svg(figure: "Figure", file: Path | BinaryIO) -> None:
    """Write a figure as SVG with its letters as paths, the same bytes for the same records."""
    with style():
        figure.savefig(file, format="svg", metadata={"Date": None})


def look_of(series: str) -> Look:
    """How a strategy is drawn; no two alike among the known ones."""
    number = sum(map(ord, series))
    return LOOKS.get(series) or Look(OTHERS[number % len(OTHERS)], "++", "HX8"[number % 3], "-.")


def _new_figure(panels: int) -> "tuple[Figure, list[Axes]]":
    """Make a figure of so many panels, at most three in a row."""
    from matplotlib.figure import Figure

    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure = Figure(figsize=(1.0 + 3.4 * columns, 0.9 + 2.9 * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, index + 1) for index in range(panels)]
    return figure, axes


def draw_panels(panels: Sequence[Shown], draw: "Callable[[Axes, Shown], None]") -> "Figure | None":
    """Draw a figure panel by panel, with one legend for all; None where there is no panel.

    Args:
        panels: What each panel shows.
        draw: Draws it.
    """
    if not panels:
        return None
    figure, axes = _new_figure(len(panels))
    for axis, shown in zip(axes, panels, strict=True):
        draw(axis, shown)
    _shared_legend(figure, axes)
    return figure


def name_panel(axis: "Axes", setting: Setting, tuned: str, size: str = "") -> None:
    """Head a panel by what drifted and which block TBFT tunes.

    Args:
        axis: The panel.
        setting: What it shows.
        tuned: The block that TBFT tunes there; empty where no record says it.
        size: The training size and variant, where the panel shows one only.
    """
    where = f"{setting.level} level, {setting.dataset}" if setting.level else setting.dataset
    which = ", ".join(filter(None, [tuned and f"TBFT tunes {tuned}", size]))
    axis.set_title("\n".join(filter(None, [where, which])), fontsize=9)


def size_of(setting: Setting) -> str:
    """The training size and variant of a setting."""
    return f"{setting.train_size} images" + (f"\n{setting.variant}" if setting.variant else "")


def log_joules(axis: "Axes") -> None:
    """Make the x axis logarithmic, with three or four labels whatever its range."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(few_ticks(*axis.get_xlim())))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter("{x:g}")


def few_ticks(low: float, high: float) -> list[float]:
    """Three or four round numbers between two limits of a logarithmic axis, fewer only where there are none.

    >>> few_ticks(80, 2500), few_ticks(1300, 2600)
    ([100.0, 300.0, 1000.0], [1600.0, 2000.0, 2400.0])
    """
    import math

    from matplotlib.ticker import MaxNLocator

    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        found = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(found) > 2:
            return found[:: math.ceil(len(found) / 4)]
    return [float(tick) for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]


def _shared_legend(figure: "Figure", axes: "Sequence[Axes]") -> None:
    """One legend for all panels, below them."""
    entries: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    order = sorted(entries, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    figure.legend(
        [entries[name] for name in order],
        order,
        loc="outside lower center",
        ncols=min(len(order), 1 + 2 * min(len(axes), 3)),
    )
