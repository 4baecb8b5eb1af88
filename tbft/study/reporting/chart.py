"""A chart: panels with one legend, side by side in a picture and laid out by the reader's screen on a page."""

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tbft.study.reporting.chart_style import style
from tbft.study.reporting.inline_svg import inline
from tbft.study.reporting.results import ORDER, TBFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 3.9, 2.9  # size of a panel that stands alone, in inches
_TITLE_CHARACTERS = 38  # characters that fit in a line above a panel beside others


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: Heading of the panel; further lines give details.
        draw: A function that draws the panel on axes.
    """

    title: str
    draw: "Callable[[Axes], None]"


@dataclass(frozen=True)
class Chart:
    """Panels that share a legend.

    Attributes:
        title: Heading of the chart.
        caption: Explanation of the chart, in whole sentences.
        panels: Panels in reading order; empty if no record fills one.
        order: Labels in the order of the legend; labels that it lacks follow.
    """

    title: str
    caption: str
    panels: Sequence[Panel]
    order: Sequence[str] = (TBFT, *ORDER)

    def figure(self) -> "Figure":
        """Draw all panels, at most three in a row, with one legend below them."""
        from matplotlib.figure import Figure

        columns = min(len(self.panels), 3)
        rows = -(-len(self.panels) // columns)
        with style():
            figure = Figure(figsize=(1.0 + 3.4 * columns, 0.9 + 2.9 * rows), layout="constrained")
            for index, panel in enumerate(self.panels):
                axis = figure.add_subplot(rows, columns, index + 1)
                panel.draw(axis)
                lines = panel.title.splitlines()
                axis.set_title("\n".join(textwrap.fill(line, _TITLE_CHARACTERS) for line in lines), fontsize=9)
            entries = self._sorted(_legend_entries(figure.axes))
            figure.legend(
                list(entries.values()),
                list(entries),
                loc="outside lower center",
                ncols=min(len(entries), 1 + 2 * columns),
            )
        return figure

    def drawn_apart(self, name: str) -> tuple[list[str], dict[str, str]]:
        """Draw each panel by itself, without title and legend, for a page that lays them out.

        Args:
            name: Name of the chart, unique on the page.

        Returns:
            The SVG of each panel, and by label the SVG of its key in the legend.
        """
        panels: list[str] = []
        entries: dict[str, Any] = {}
        with style(letters="none"):
            for index, panel in enumerate(self.panels):
                figure = draw_alone(panel)
                entries |= {label: key for label, key in _legend_entries(figure.axes).items() if label not in entries}
                panels.append(inline(_svg(figure), f"{name}-{index}", panel.title))
            keys = {
                label: inline(_svg(_key(handle)), f"{name}-key-{index}")
                for index, (label, handle) in enumerate(self._sorted(entries).items())
            }
        return panels, keys

    def _sorted(self, entries: Mapping[str, Any]) -> dict[str, Any]:
        known = {label: place for place, label in enumerate(self.order)}
        return dict(sorted(entries.items(), key=lambda entry: known.get(entry[0], len(known))))


def draw_alone(panel: Panel) -> "Figure":
    """Draw a panel by itself, without title and legend."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    panel.draw(figure.add_subplot())
    return figure


def _legend_entries(axes: "Sequence[Axes]") -> dict[str, Any]:
    """Return by label the artist that the legend shows for it, from all panels."""
    entries: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    return entries


def _key(handle: Any) -> "Figure":
    """Draw the key of a label in the legend as a picture of its own."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.36, 0.18))
    figure.legend([handle], [""], loc="center", borderpad=0, handletextpad=0, handlelength=2, borderaxespad=0)
    return figure


def _svg(figure: "Figure") -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return out.getvalue()
