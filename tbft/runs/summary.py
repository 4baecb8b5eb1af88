"""The table that ends the terminal output of a run."""

from __future__ import annotations

from pathlib import Path

from tbft.runs.story import story_of, tuned_blocks
from tbft.schema import RESULT_FILE, RunRecord


def print_summary(record: RunRecord, folder: Path) -> None:
    """Print what a run did: accuracy before and after, what trained, its cost, and where its record is.

    Args:
        record: record of the run.
        folder: folder of the run.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(title=record["name"], show_header=False, title_justify="left", min_width=60)
    table.add_column(style="bold")
    table.add_column()
    drift = record["drift"]
    severity = f", severity {drift['severity']}" if drift["severity"] else ""
    for title, text in story_of(record).items():
        table.add_row(title, text)
    if record["strategy"] not in ("base", "auto"):
        table.add_row("drift", f"{drift['level'] or 'unknown'} level ({drift['name']}{severity})")
    table.add_row("test accuracy", _accuracy(record))
    if record["kept"] == "base":
        table.add_row("kept", f"[yellow]the base model: {record['kept_reason']}[/]")
    elif loss := _lost_points(record):
        table.add_row(
            "worse",
            f"[yellow]{loss:.1f} points lost on the test images, {_why_unseen(record)}: label more images, or go on "
            "with the base model[/]",
        )
    parameters = record["parameters"]
    share = 100 * parameters["trained"] / parameters["total"]
    trained = f"{parameters['trained']:,} of {parameters['total']:,} parameters ({share:.1f} %)"
    table.add_row("trained", f"{tuned_blocks(record)}: {trained}")
    table.add_row("adaptation", _cost(record))
    if record["environment"]["number_format"] == "bf16":
        table.add_row("computed", "with convolutions in bfloat16 (model.number_format bf16)")
    if record["stopped_by"]:
        table.add_row("stopped by", record["stopped_by"])
    if record["void"]:
        table.add_row("void", f"[yellow]{record['void']}[/]")
    console = Console()
    console.print(table)
    console.print(f"record  {folder / RESULT_FILE}", soft_wrap=True, highlight=False)
    run = next(iter(sorted((folder / "wandb").glob("*run-*"), reverse=True)), None)
    if run is not None:
        console.print(f"browse  wandb leet {run}", soft_wrap=True, highlight=False)
        if run.name.startswith("offline"):
            console.print(f"upload  wandb sync {run}", soft_wrap=True, highlight=False)


def _accuracy(record: RunRecord) -> str:
    before, after = record["accuracy"]["base"], record["accuracy"]["test"]
    if after is None:
        return "not tested"
    if before is None:
        return f"[bold green]{100 * after:.1f} %[/]"
    return f"{100 * before:.1f} % -> [bold green]{100 * after:.1f} %[/]"


def _why_unseen(record: RunRecord) -> str:
    """Say why weights were kept that turned out worse on the test images."""
    if record["accuracy"].get("validation") is None:
        return "and no validation image was there to show it"
    return "though validation found the adapted weights no worse"


def _lost_points(record: RunRecord) -> float:
    """Return the percentage points by which the kept weights are worse on the test images; 0 if they are not."""
    before, after = record["accuracy"]["base"], record["accuracy"]["test"]
    return 0.0 if before is None or after is None else max(100 * (before - after), 0.0)


def _cost(record: RunRecord) -> str:
    measured = "measured" if record["energy_source"].get("measured") else "modelled, not measured"
    booked = (record["joules"], record["cpu_seconds"], record["wall_seconds"])
    joules, cpu, wall = (figures["adaptation"] for figures in booked)
    return f"{short_figure(joules)} J ({measured}), {short_figure(cpu)} CPU-s, {short_figure(wall)} s"


def short_figure(value: float) -> str:
    """Format a value with one decimal, or below 1 with two significant digits."""
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"
