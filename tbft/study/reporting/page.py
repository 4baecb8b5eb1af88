"""The page of a report: all tables and figures, without scripts or downloads, as wide as the reader's screen."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tbft.schema import LEVELS
from tbft.study.reporting.answer_words import Answer
from tbft.study.reporting.chart import Chart
from tbft.study.reporting.inline_svg import dark_colours
from tbft.study.reporting.intervals import Estimate
from tbft.study.reporting.paper import paper_block
from tbft.study.reporting.results import ADAPTIVE, OPPONENTS, ORDER, TBFT
from tbft.study.reporting.table import OURS, PAPER, Table, Value, show
from tbft.study.reporting.table_parts import HEAD

LEAD = "answer"  # name of the figure below the answer
DETAILS = frozenset({"cost", "energy_to_accuracy", "problems"})  # long tables, which stand below the figures
_BLOCK = re.compile(r"^block(?=$|,)")  # the level's own recipe, as records name it
_KEYS = 6  # number of columns with figures that a narrow screen shows at first
_MINOR = frozenset(ORDER) - {"block", ADAPTIVE, *OPPONENTS}  # strategies that are folded first
_WIDE = 12  # number of columns from which on a wide screen folds the same columns as a narrow one


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: Heading of the column.
        kind: `text`, `key` or `rest`; a column of the last kind is folded if there is little room.
        number: Whether the column holds figures or counts.
    """

    heading: str
    kind: str
    number: bool


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        column: The column of the cell.
        value: The figure or text.
        spread: Interval or standard deviation behind a figure; or empty.
    """

    column: Column
    value: str
    spread: str


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name: Name of the row, such as its level, data set and size.
        paper: Whether the figures are the paper's.
        cells: Cells of the columns behind the name.
    """

    name: str
    paper: bool
    cells: Sequence[Cell]


@dataclass(frozen=True)
class ShownTable:
    """A table as the page shows it.

    Attributes:
        name: Name of the table, unique on the page.
        title: Heading of the table.
        of: Heading of the column with the names of the rows.
        columns: The other columns.
        rows: Rows of the table.
        notes: Notes below the table.
    """

    name: str
    title: str
    of: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str]

    @property
    def folds(self) -> bool:
        """Whether a column can be folded."""
        return any(column.kind == "rest" for column in self.columns)

    @property
    def wide(self) -> bool:
        """Whether the table has so many columns that some are folded even on a wide screen."""
        return len(self.columns) >= _WIDE


def render_page(
    title: str,
    summary: str,
    answer: Answer,
    tables: Sequence[Table],
    figures: Mapping[str, Chart],
    general: Sequence[str] = (),
    tuned: Mapping[str, str] | None = None,
) -> str:
    """Return the page as HTML; all text in it is escaped.

    Args:
        title: Heading of the page.
        summary: One line below the heading.
        answer: The answer that the page begins with.
        tables: Tables in their order; those named in `DETAILS` stand below the figures.
        figures: Charts by name; the one named `LEAD` stands below the answer.
        general: Notes that hold for all tables and figures. They stand below the answer alone; other notes that several
            tables share stand there too, folded unless they are warnings.
        tuned: By level, the block that TBFT tunes at it; levels without a single such block are left out.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    told = Counter(note for table in tables for note in table.notes)
    repeated = [note for note, times in told.items() if times > 1 and note not in general]
    warnings = [note for note in repeated if note.startswith("Warning")]
    seen = {*general, *repeated}
    apart = [replace(table, notes=tuple(note for note in table.notes if note not in seen)) for table in tables]
    shown = [show_table(name_tuned_blocks(table, tuned or {})) for table in apart]
    lead = figures.get(LEAD)
    others = {name: chart for name, chart in figures.items() if chart is not lead}
    page = {
        "title": title,
        "summary": summary,
        "answer": [_unbroken(clause) for clause in answer.clauses],
        "lead": _draw(LEAD, lead) if lead else None,
        "notes": [_unbroken(note) for note in [*answer.notes, *general, *warnings]],
        "repeated": [note for note in repeated if note not in warnings],
        "tables": [table for table in shown if table.name not in DETAILS],
        "figures": [_draw(name, chart) for name, chart in others.items()],
        "details": [table for table in shown if table.name in DETAILS],
        "dark": dark_colours(),
    }
    loader = PackageLoader("tbft.study.reporting", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("report.html.j2").render(page)


def _unbroken(text: str) -> str:
    """Keep a figure and its unit, and the ends of an interval, on one line."""
    return re.sub(r"(?<=\d) (?=%|points)|(?<=,) (?=[-\d.]+\])", "\xa0", text)


def _draw(name: str, chart: Chart) -> dict[str, Any]:
    from markupsafe import Markup

    panels, keys = chart.drawn_apart(name)
    return {
        "title": chart.title,
        "caption": chart.caption,
        "panels": [
            {"lines": panel.title.splitlines(), "svg": Markup(svg)}
            for panel, svg in zip(chart.panels, panels, strict=True)
        ],
        "keys": [(label, Markup(svg)) for label, svg in keys.items()],
    }


def name_tuned_blocks(table: Table, tuned: Mapping[str, str]) -> Table:
    """Replace `block`, the records' name of the level's recipe, by the figures' name: `TBFT`.

    In the column TBFT it is replaced by the name of the block.

    Args:
        table: Table to change.
        tuned: By level, the block that TBFT tunes at it; for the paper's rows it is the paper's block.
    """
    level = table.columns.index("level") if "level" in table.columns else None

    def named(row: Sequence[Value], heading: str, value: Value) -> Value:
        if not isinstance(value, str) or not _BLOCK.match(value):
            return value
        place = str(row[level]) if level is not None else ""
        blocks = {each: paper_block(each) for each in LEVELS} if row[0] == PAPER else tuned
        return _BLOCK.sub(blocks.get(place, TBFT) if heading == TBFT else TBFT, value)

    rows = tuple(tuple(map(partial(named, row), table.columns, row)) for row in table.rows)
    return replace(table, columns=tuple(_BLOCK.sub(TBFT, heading) for heading in table.columns), rows=rows)


def show_table(table: Table) -> ShownTable:
    """Lay a table out for a page: the name of a row in one cell, then its figures.

    Empty columns are left out. Texts before the first figure and the first `_KEYS` columns of figures are always shown
    (of many strategies, ours and the opponents first); the rest is folded on a narrow screen.
    """
    table = table.compact()
    named = _naming(table)
    columns = _columns(table, named)
    rows = []
    for row in table.rows:
        names = (_name(heading, value) for heading, value in zip(table.columns[:named], row[:named], strict=True))
        cells = [_cell(column, value) for column, value in zip(columns, row[named:], strict=True)]
        rows.append(Row(", ".join(filter(None, names)), row[0] == PAPER, cells))
    of = ", ".join(heading for heading in table.columns[:named] if heading != HEAD[0])
    return ShownTable(table.name, table.title, of, columns, rows, table.notes)


def _naming(table: Table) -> int:
    """Return how many of the first columns make up the name of a row."""
    named = 0
    while named < len(table.columns) and table.columns[named] in HEAD:
        named += 1
    return max(named, 2 if table.columns[0] == HEAD[0] else 1)


def _name(heading: str, value: Value) -> str:
    if value in (None, "", OURS):
        return ""
    return f"{value} images" if heading == "size" else str(value)


def _columns(table: Table, named: int) -> list[Column]:
    """Return the columns behind the name of a row; if many have figures, those of TBFT and its opponents are shown."""
    indices = range(named, len(table.columns))
    values = {index: [row[index] for row in table.rows] for index in indices}
    figures = [index for index in indices if any(isinstance(value, (float, Estimate)) for value in values[index])]
    keys = sorted(figures, key=lambda index: table.columns[index] in _MINOR)[:_KEYS]
    columns = []
    for index in indices:
        text = all(isinstance(value, str) for value in values[index]) and not any(each < index for each in figures)
        kind = "key" if index in keys else "text" if text else "rest"
        number = any(isinstance(value, (int, float, Estimate)) for value in values[index])
        columns.append(Column(table.columns[index], kind, number))
    return columns


def _cell(column: Column, value: Value) -> Cell:
    if value is None or value == "":
        return Cell(column, "", "")
    if isinstance(value, str):
        return Cell(column, value, "")
    number, _, spread = show(value).partition(" ")
    return Cell(column, number, spread.replace(" ", "\xa0"))
