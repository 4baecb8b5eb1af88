"""A table, and its forms for a terminal, for Markdown and for a spreadsheet."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from rich.table import Table as RichTable

from tbft.study.reporting.intervals import Estimate

Value = str | int | float | Estimate | None
PAPER = "paper"
OURS = "ours"
LONGEST_NAME = 20  # characters of the longest name, such as a strategy's, that a narrow terminal does not break


@dataclass(frozen=True)
class Table:
    """Rows of figures with a title.

    Attributes:
        name: File name without its ending.
        title: One line that says what is shown, with the unit.
        columns: Headings of the columns.
        rows: Rows with one value for each column; the paper's own rows begin with `paper`.
        notes: Sentences that a reader needs to understand the table.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...] = ()

    def shown(self) -> Iterator[list[str]]:
        """Yield the rows as texts."""
        for row in self.rows:
            yield [show(value) for value in row]

    def compact(self) -> "Table":
        """Return the table without columns that are empty in every row."""
        kept = [i for i in range(len(self.columns)) if any(row[i] not in ("", None) for row in self.rows)]
        rows = tuple(tuple(row[index] for index in kept) for row in self.rows)
        return replace(self, columns=tuple(self.columns[index] for index in kept), rows=rows)


def show(value: Value) -> str:
    """Write one value: `73.52 ± 0.21`, `+15.3 [12.1, 18.5]`, or a dash for an unknown one."""
    if value is None:
        return "-"
    if isinstance(value, (str, int)):
        return str(value)
    estimate = value if isinstance(value, Estimate) else Estimate(value)
    sign = "+" if estimate.signed else ""
    if estimate.low is not None and estimate.high is not None:
        digits = 1 if estimate.high - estimate.low >= 1 else 2
        interval = f"[{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
        return f"{estimate.value:{sign}.{digits}f} {interval}{estimate.mark}"
    digits = _digits(estimate.value)
    spread = "" if estimate.sd is None else f" ± {estimate.sd:.{digits}f}"
    return f"{estimate.value:{sign}.{digits}f}{spread}{estimate.mark}"


def _digits(value: float) -> int:
    return 2 if 1 <= abs(value) < 100 else 1 if abs(value) >= 100 else 3 if value else 1


def to_rich(table: Table) -> RichTable:
    """Lay a table out for the terminal, the paper's rows dimmed."""
    from rich.text import Text

    table = table.compact()
    rows = list(table.shown())
    laid_out = RichTable(title=Text(table.title), caption=Text("\n".join(table.notes)))
    laid_out.title_justify = laid_out.caption_justify = "left"
    for index, heading in enumerate(table.columns):
        figures = any(isinstance(row[index], (int, float, Estimate)) for row in table.rows)
        whole = not figures and max(len(row[index]) for row in rows) <= LONGEST_NAME
        justify: Literal["left", "right"] = "right" if figures else "left"
        laid_out.add_column(heading, justify=justify, overflow="fold", no_wrap=whole)
    for row in rows:
        laid_out.add_row(*map(Text, row), style="dim italic" if row and row[0] == PAPER else None)
    return laid_out


def to_markdown(table: Table) -> str:
    """Write a table as Markdown, the paper's rows in italics."""
    table = table.compact()
    lines = [f"### {table.title}", "", _line(table.columns), _line(["---"] * len(table.columns))]
    for row in table.shown():
        lines.append(_line([f"*{text}*" for text in row] if row and row[0] == PAPER else row))
    if table.notes:
        lines += [""] + [f"- {note}" for note in table.notes]
    return "\n".join(lines) + "\n"


def _line(values: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(value.replace("|", "\\|").replace("\n", " ") for value in values) + " |"


def to_csv(table: Table) -> str:
    """Write a table with full precision, an estimate spread over columns of its own."""
    parts = [_parts(table, index) for index in range(len(table.columns))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        f"{heading} {part}".strip()
        for heading, names in zip(table.columns, parts, strict=True)
        for part in names.values()
    )
    for row in table.rows:
        writer.writerow(_part(value, name) for value, names in zip(row, parts, strict=True) for name in names)
    return out.getvalue()


def _parts(table: Table, index: int) -> dict[str, str]:
    """Return the known attributes of a column's estimates, each with its suffix for the heading."""
    estimates = [row[index] for row in table.rows if isinstance(row[index], Estimate)]
    suffixes = {"value": "", "sd": "sd", "low": "low", "high": "high", "n": "n", "mark": "mark"}
    known = {name for name in suffixes for estimate in estimates if getattr(estimate, name) not in (None, "")}
    return {name: suffix for name, suffix in suffixes.items() if name == "value" or name in known}


def _part(value: Value, name: str) -> str | int | float | None:
    if isinstance(value, Estimate):
        return getattr(value, name)
    return value if name == "value" else None
