"""One page of all tables and figures, which fetches nothing, runs nothing, and is as wide as its reader's screen."""

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

LEAD = "answer"  # name of the figure that stands below the answer
DETAILS = frozenset({"cost", "energy_to_accuracy", "problems"})  # long tables, below the figures
_BLOCK = re.compile(r"^block(?=$|,)")  # the level's own recipe, as records name it
_KEYS = 6  # columns of figures that a narrow screen shows at first
_MINOR = frozenset(ORDER) - {"block", ADAPTIVE, *OPPONENTS}  # strategies that are folded first
_WIDE = 12  # columns from which on a wide screen folds what a narrow one does


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: Heading.
        kind: `text`, `key` or `rest`, which is folded where there is little room.
        number: Whether it holds figures or counts.
    """

    heading: str
    kind: str
    number: bool


@dataclass(frozen=True)
class Cell:
    """A value of a table: the figure or text, and what follows a figure (its interval or its deviation)."""

    column: Column
    value: str
    spread: str


@dataclass(frozen=True)
class Row:
    """A row of a table: what it is of, whether it is the paper's, and its cells."""

    name: str
    paper: bool
    cells: Sequence[Cell]


@dataclass(frozen=True)
class ShownTable:
    """A table as the page has it.

    Attributes:
        name: Unique on the page.
        title: Heading.
        of: Heading of the names of the rows.
        columns: The others.
        rows: The rows.
        notes: Below it.
    """

    name: str
    title: str
    of: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str]

    @property
    def folds(self) -> bool:
        """Whether there is something to fold."""
        return any(column.kind == "rest" for column in self.columns)

    @property
    def wide(self) -> bool:
        """Whether it folds even on a wide screen."""
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
    """Fill the page; all text in it is escaped.

    Args:
        title: Heading.
        summary: One line below it.
        answer: What the page leads with.
        tables: Shown in this order, but for long ones, which stand below the figures.
        figures: By name; the one named `LEAD` stands below the answer.
        general: Notes that hold for all tables and figures. They stand below the answer and nowhere else; what several
            tables say beyond them stands there too, folded unless it is a warning.
        tuned: The block that TBFT tunes at a level, of levels at which it is one.
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
    """Keep figures with their unit, and intervals, on one line."""
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
    """Name what records call `block` as the figures do: TBFT, and the block itself in the column of that name.

    Args:
        table: Any.
        tuned: The block that TBFT tunes at a level; the paper's is known.
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
    """Lay a table out for a page: what a row is of in one cell, then the figures that matter.

    Columns that say nothing are left out. Texts before the first figure and the first `_KEYS` columns of figures are
    seen at once (of many strategies, ours and the opponents); the rest is folded on a narrow screen.
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
    """How many of the first columns say what a row is of."""
    named = 0
    while named < len(table.columns) and table.columns[named] in HEAD:
        named += 1
    return max(named, 2 if table.columns[0] == HEAD[0] else 1)


def _name(heading: str, value: Value) -> str:
    if value in (None, "", OURS):
        return ""
    return f"{value} images" if heading == "size" else str(value)


def _columns(table: Table, named: int) -> list[Column]:
    """The columns behind those that name a row; of more than `_KEYS` with figures, TBFT's and its opponents' first."""
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
