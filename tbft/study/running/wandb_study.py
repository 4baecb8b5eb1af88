"""A study's table and figures as one run in W&B, in the group of its cells."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tbft.errors import BadInput
from tbft.study.reporting.table import Table

if TYPE_CHECKING:
    from tbft.study.reporting.report import Report


def log_study(name: str, report: "Report", mode: Literal["offline", "online"]) -> None:
    """Log every table as a `wandb.Table` and every figure as an image.

    Args:
        name: Name of the study, which is the group of its cells.
        report: What to log; the offline run lies beside it, in the ledger.
        mode: `offline`, which opens no connection, or `online`.

    Raises:
        BadInput: When an online run cannot be started.
    """
    os.environ["WANDB_MODE"] = mode
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    from tbft.study.reporting.tables import records_table

    settings = wandb.Settings(
        silent=True,
        console="off",
        mode=mode,
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    folder = report.folder.parent
    try:
        run = wandb.init(
            project="tbft", name=f"{name} study", group=name, job_type="study", dir=folder, settings=settings
        )
    except wandb.Error as error:
        raise BadInput(f"W&B cannot be reached ({error}): use --wandb offline and `wandb sync` later") from None
    with run:
        for table in (records_table(report.results), *report.tables):
            run.log({f"study/{table.name}": wandb.Table(columns=list(table.columns), data=_data(table))})
        for picture in sorted(report.folder.glob("*.png")):
            run.log({f"figures/{Path(picture).stem}": wandb.Image(str(picture))})


def _data(table: Table) -> list[list[object]]:
    """Rows for W&B, whose columns hold one type each: plain figures as such, uncertain ones as text."""
    if table.name == "records":
        return [list(row) for row in table.rows]
    return list(map(list, table.shown()))
