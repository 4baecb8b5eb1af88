"""Writes tables, figures and one self-contained page from the records on disk."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tbft import atomic
from tbft.errors import BadInput
from tbft.study.reporting.answer_words import Answer, answer
from tbft.study.reporting.apart import set_apart
from tbft.study.reporting.ledger_reading import Problem, read_ledger
from tbft.study.reporting.noised_blocks import without_noise
from tbft.study.reporting.page import render_page
from tbft.study.reporting.results import Results
from tbft.study.reporting.table import Table, to_csv, to_markdown
from tbft.study.reporting.table_parts import cost_notes
from tbft.study.reporting.tables import all_tables, records_table

FOLDER = "report"
PAGE = "report.html"


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        folder: Folder of `*.csv`, `tables.md`, the figures and `report.html`.
        tables: The tables, without that of all records.
        results: The completed records.
        problems: Records that could not be used in full.
        answer: The answer that the page begins with.
    """

    folder: Path
    tables: Sequence[Table]
    results: Results
    problems: Sequence[Problem]
    answer: Answer


def write_report(runs: Path, folder: Path | None = None) -> Report:
    """Make the tables, figures and page of all records below a folder.

    Args:
        runs: A ledger, or a folder of ledgers.
        folder: Folder to write to; `report` inside `runs` if None.

    Raises:
        BadInput: When there is no record, or the report cannot be written.
    """
    records, problems = read_ledger(runs)
    results = Results(records)
    tables = all_tables(results, problems)
    folder = folder or runs / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = _write(runs, folder, tables, results, problems)
    except OSError as error:
        raise BadInput(f"cannot write the report to {folder} ({error.strerror}): free some space or use --to") from None
    return Report(folder, tables, results, problems, found)


def _write(runs: Path, folder: Path, tables: Sequence[Table], results: Results, problems: Sequence[Problem]) -> Answer:
    """Write all files and return the answer that the page begins with."""
    from tbft.study.reporting.chart_style import save_png, save_svg
    from tbft.study.reporting.figures import all_figures

    for table in [*tables, records_table(results)]:
        atomic.write_text(folder / f"{table.name}.csv", to_csv(table))
    atomic.write_text(folder / "tables.md", "\n".join(to_markdown(table) for table in tables))
    plain = without_noise(set_apart(results))
    charts = all_figures(plain)
    for name, chart in charts.items():
        figure = chart.figure()
        save_png(figure, folder / f"{name}.png")
        svg = io.BytesIO()
        save_svg(figure, svg)
        atomic.write_bytes(folder / f"{name}.svg", svg.getvalue())
    title = f"Personalization study: {runs.resolve().name}"
    machines = sorted({record.machine for record in results.records if record.machine})
    kinds = Counter(problem.kind for problem in problems)
    others = [f"{count} {kind}" for kind, count in kinds.items()]
    summary = ", ".join([f"{len(results.records)} completed runs", *others])
    summary += f"; on {', '.join(machines)}." if machines else "."
    found = answer(plain)
    page = render_page(title, summary, found, tables, charts, cost_notes(results.records), plain.tuned_blocks())
    atomic.write_text(folder / PAGE, page)
    return found
