"""How every figure looks: colours that the colour-blind can tell apart, hatches and markers for print."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tbft.study.results import ORDER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design" (2008)
COLOURS = ("#999999", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#0072B2", "#CC79A7", "#F0E442")
HATCHES = ("", "///", "...", "xx")
MARKERS = "osD^vPX*<>hdp8"
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


def style_of(series: str) -> tuple[str, str, str]:
    """Colour, hatch and marker of a strategy: the same in every figure, no two alike among the known ones."""
    index = ORDER.index(series) if series in ORDER else len(ORDER) + sum(map(ord, series))
    return (
        COLOURS[index % len(COLOURS)],
        HATCHES[index // len(COLOURS) % len(HATCHES)],
        MARKERS[index % len(MARKERS)],
    )


def new_figure(panels: int) -> "tuple[Figure, list[Axes]]":
    """Make a figure of so many panels, at most three in a row."""
    from matplotlib.figure import Figure

    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure = Figure(figsize=(1.0 + 3.4 * columns, 0.9 + 2.9 * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, index + 1) for index in range(panels)]
    return figure, axes


def shared_legend(figure: "Figure", axes: "Sequence[Axes]") -> None:
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
