"""Style of all figures: colours that colour-blind readers can tell apart, hatches and markers for print."""

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from tbft.study.reporting.results import AMP, TBFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Look:
    """The look of a strategy, the same in every figure.

    Attributes:
        colour: Colour of bars, lines and markers.
        hatch: Matplotlib's hatch of bars, for print without colours.
        marker: Matplotlib's marker of points.
        line: Matplotlib's line style.
        filled: Whether markers are filled.
    """

    colour: str
    hatch: str
    marker: str
    line: str
    filled: bool = True


# Okabe and Ito, "Color Universal Design" (2008), with a yellow that is a little darker, to be seen on white. Its eight
# colours are not enough: the others are chosen to differ from these and from one another under deuteranopia and
# protanopia.
LOOKS = {
    "none": Look("#BBBBBB", "", "o", ":"),
    "bn": Look("#56B4E9", "", "s", ":"),
    "block": Look("#D55E00", "", "D", "-"),
    "auto": Look("#6666FF", "--", "H", "-"),
    "auto-unlabelled": Look("#0000FF", "--", "1", ":"),
    "block1": Look("#E69F00", "", "^", "-"),
    "block2": Look("#009E73", "", "v", "-"),
    "block3": Look("#0072B2", "", "P", "-"),
    "block4": Look("#99DD88", "", "X", "-"),
    "fc": Look("#E0D030", "..", "*", "-"),
    "block2+block3": Look("#88CCEE", "xx", "<", "-."),
    "head": Look("#554400", "xx", ">", "-."),
    "refresh+head": Look("#660066", "xx", "2", ":"),
    "auto-rgn": Look("#4411AA", "xx", "h", "-."),
    "tuned-full": Look("#CC79A7", "///", "d", "--"),
    "paper-full": Look("#882255", "\\\\\\", "p", "--"),
    "full": Look("#333333", "", "8", "--"),
}
OTHERS = ("#117733", "#999933", "#CC6677")  # colours of strategies that are not in LOOKS
PHASE_LOOKS = (("#999999", ""), ("#56B4E9", "///"), ("#D55E00", "\\\\\\"), ("#E69F00", "xx"))
INK, GRID = "#1a1a1a", "#dddddd"
DARK = {
    INK: "#e6e6e6",
    GRID: "#444444",
    LOOKS["head"].colour: "#a08a40",
    LOOKS["auto-rgn"].colour: "#9a7bff",
    LOOKS["paper-full"].colour: "#c05a8c",
    LOOKS["full"].colour: "#909090",
    OTHERS[0]: "#44aa66",
}
"""By colour, the colour that replaces it on a dark page, where it could not be seen."""
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "tbft",
}


def style(letters: Literal["path", "none"] = "path") -> AbstractContextManager[None]:
    """Return a context with Matplotlib's settings for drawing and saving figures.

    Args:
        letters: Form of letters in SVG: `path`, which looks the same everywhere, or `none` for text in the reader's
            font.
    """
    from matplotlib import rc_context

    return rc_context(STYLE | {"svg.fonttype": letters})


def save_png(figure: "Figure", file: Path) -> None:
    """Write a figure as PNG at 200 dpi; the same records give the same bytes."""
    with style():
        figure.savefig(file, format="png", dpi=200, metadata={"Software": None})


def save_svg(figure: "Figure", file: Path | BinaryIO) -> None:
    """Write a figure as SVG with letters as paths; the same records give the same bytes."""
    with style():
        figure.savefig(file, format="svg", metadata={"Date": None})


def look_of(series: str) -> Look:
    """Return the look of a strategy by its name, or of `TBFT`; no two known strategies have the same one.

    A strategy in TBFT's number format (`AMP`) has the colour of the plain one, and a hollow marker.
    """
    number = sum(map(ord, series))
    name = "block" if series == TBFT else series.removesuffix(AMP)
    look = LOOKS.get(name) or Look(OTHERS[number % len(OTHERS)], "++", "HX8"[number % 3], "-.")
    return replace(look, hatch=look.hatch + "oo", line=":", filled=False) if series.endswith(AMP) else look


def log_joules(axis: "Axes") -> None:
    """Make the x axis logarithmic, with three or four labels for any range."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(few_ticks(*axis.get_xlim())))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter("{x:g}")


def few_ticks(low: float, high: float) -> list[float]:
    """Return about three or four round numbers between two limits of a logarithmic axis.

    >>> few_ticks(80, 2500), few_ticks(1300, 2600)
    ([100.0, 300.0, 1000.0], [1600.0, 2000.0, 2400.0])
    """
    from matplotlib.ticker import MaxNLocator

    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        found = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(found) > 2:
            return found[:: math.ceil(len(found) / 4)]
    return [float(tick) for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
