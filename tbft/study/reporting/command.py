"""The command `python -m tbft report`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from tbft.errors import BadInput
from tbft.paths import user_path
from tbft.schema import DONE
from tbft.study.reporting.report import PAGE, Report, write_report
from tbft.study.reporting.table import to_rich

WIDTH = 200  # width in characters of tables that go to a file or a pipe


def main_report(args: list[str]) -> int:
    """Make tables, figures and page again from the records on disk.

    Args:
        args: The command line after `report`.

    Raises:
        BadInput: When the command line is wrong, there is no record, or the report cannot be written.
    """
    given = parse_arguments(_report_parser(), args)
    print_report(user_path(given.runs), None if given.to is None else user_path(given.to))
    return DONE


def print_report(runs: Path, folder: Path | None = None) -> Report:
    """Write the report of all records below a folder, then print its tables and its answer.

    Args:
        runs: A ledger, or a folder of ledgers.
        folder: Folder to write to; `report` inside `runs` if None.

    Raises:
        BadInput: When there is no record, or the report cannot be written.
    """
    from rich.console import Console

    report = write_report(runs, folder)
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    for table in report.tables:
        console.print(to_rich(table))
    for clause in report.answer.clauses:
        console.print(clause, highlight=False, markup=False)
    console.print(f"report: {report.folder / PAGE}", highlight=False, soft_wrap=True, markup=False)
    return report


def parse_arguments(parser: ArgumentParser, args: Sequence[str]) -> Any:
    """Parse a command line.

    Raises:
        BadInput: When the parser does not accept it; the message is one line.
    """
    try:
        return parser.parse_args(list(args))
    except ArgumentError as error:
        raise BadInput(" ".join(str(error).split())) from None


def _report_parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m tbft report",
        description="Tables, figures and one page from the records of runs.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("runs", type=str, help="Folder of the records: a ledger, or a folder of ledgers.")
    parser.add_argument("--to", type=str | None, default=None, help="Folder to write to; RUNS/report by default.")
    return parser
