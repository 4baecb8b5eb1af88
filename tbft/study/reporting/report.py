"""Writes tables, figures and one self-contained page from the records on disk."""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tbft import atomic
from tbft.errors import BadInput
from tbft.study.reporting.ledger_reading import Problem, read_ledger
from tbft.study.reporting.noised_blocks import without_noise
from tbft.study.reporting.results import Results
from tbft.study.reporting.table import Table, show, to_csv, to_markdown
from tbft.study.reporting.tables import all_tables, records_table

FOLDER = "report"
PAGE = "report.html"
DETAILS = frozenset({"cost", "energy_to_accuracy", "problems"})  # long tables, below the figures
TITLES = {
    "bars": "Accuracy",
    "pareto": "Accuracy against energy",
    "phases": "Energy by phase",
    "curves": "Learning curves",
}


@dataclass(frozen=True)
class Report:
    """What was written, and where.

    Attributes:
        folder: Holds `*.csv`, `tables.md`, the figures and `report.html`.
        tables: The tables, for the terminal.
        results: The completed records.
        problems: Records that could not be used in full.
    """

    folder: Path
    tables: Sequence[Table]
    results: Results
    problems: Sequence[Problem]


def write_report(runs: Path, folder: Path | None = None) -> Report:
    """Make the tables, figures and page of all records below a folder.

    Args:
        runs: A ledger, or a folder of ledgers.
        folder: Where to write; `report` inside `runs` if None.

    Raises:
        BadInput: When there is no record, or the report cannot be written.
    """
    records, problems = read_ledger(runs)
    results = Results(records)
    tables = all_tables(results, problems)
    folder = folder or runs / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(runs, folder, tables, results, problems)
    except OSError as error:
        raise BadInput(f"cannot write the report to {folder} ({error.strerror}): free some space or use --to") from None
    return Report(folder, tables, results, problems)


def _write(runs: Path, folder: Path, tables: Sequence[Table], results: Results, problems: Sequence[Problem]) -> None:
    from tbft.study.reporting.chart_style import save_png, save_svg
    from tbft.study.reporting.figures import all_figures

    for table in [*tables, records_table(results)]:
        atomic.write_text(folder / f"{table.name}.csv", to_csv(table))
    atomic.write_text(folder / "tables.md", "\n".join(to_markdown(table) for table in tables))
    figures = {}
    for name, (caption, figure) in all_figures(without_noise(results)).items():
        save_png(figure, folder / f"{name}.png")
        svg = io.BytesIO()
        save_svg(figure, svg)
        atomic.write_bytes(folder / f"{name}.svg", svg.getvalue())
        figures[name] = (caption, svg.getvalue())
    title = f"Personalization study: {runs.resolve().name}"
    machines = sorted({record.machine for record in results.records if record.machine})
    kinds = Counter(problem.kind for problem in problems)
    others = [f"{count} {kind}" for kind, count in kinds.items()]
    summary = ", ".join([f"{len(results.records)} completed runs", *others])
    summary += f"; on {', '.join(machines)}." if machines else "."
    atomic.write_text(folder / PAGE, render_page(title, summary, tables, figures))


def render_page(title: str, summary: str, tables: Sequence[Table], figures: Mapping[str, tuple[str, bytes]]) -> str:
    """Fill the page: every figure inside it, nothing to fetch, all text escaped.

    Args:
        title: Heading.
        summary: One line below it.
        tables: Shown in this order.
        figures: Name to caption and SVG.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("tbft.study.reporting", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters["shown"] = lambda value: show(value).replace(" ± ", "\xa0±\xa0").replace(", ", ",\xa0")
    shown = [
        {"title": TITLES.get(name, name), "caption": caption, "source": _data_uri(svg)}
        for name, (caption, svg) in figures.items()
    ]
    first = [table.compact() for table in tables if table.name not in DETAILS]
    details = [table.compact() for table in tables if table.name in DETAILS]
    page = {"title": title, "summary": summary, "tables": first, "figures": shown, "details": details}
    return environment.get_template("report.html.j2").render(page)


def _data_uri(svg: bytes) -> str:
    """A figure as an address that carries it; in an `img` it runs no script."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")
