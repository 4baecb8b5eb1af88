"""Logs a study's tables and figures as one run in W&B, in the group of its cells."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tbft.study.reporting.table import Table

if TYPE_CHECKING:
    from tbft.study.reporting.report import Report

log = logging.getLogger(__name__)

_REACH_SECONDS = 10.0
"""Longest wait for the server before a study logs offline, in seconds."""


def log_study(name: str, report: "Report", mode: Literal["offline", "online"]) -> None:
    """Log every table as a `wandb.Table` and every figure as an image.

    A failure of W&B only gives a warning and never fails the study. If logging online fails, the run is logged offline.

    Args:
        name: Name of the study, which is also the group of its cells.
        report: The report to log; W&B's files lie beside its folder, in the ledger.
        mode: `offline`, which opens no connection, or `online`.
    """
    try:
        _log(name, report, mode)
    except Exception as error:  # W&B may raise anything
        said = " ".join(str(error).split())[:200]
        if mode == "offline":
            log.warning("W&B does not log the study's tables and figures (%s); they lie in %s", said, report.folder)
            return
        folder = report.folder.parent
        log.warning(
            "W&B cannot be reached (%s): logged offline; `wandb sync %s/wandb/offline-run-*` later", said, folder
        )
        log_study(name, report, "offline")


def _log(name: str, report: "Report", mode: Literal["offline", "online"]) -> None:
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
        init_timeout=_REACH_SECONDS,
    )
    folder = report.folder.parent
    with wandb.init(
        project="tbft", name=f"{name} study", group=name, job_type="study", dir=folder, settings=settings
    ) as run:
        for table in (records_table(report.results), *report.tables):
            run.log({f"study/{table.name}": wandb.Table(columns=list(table.columns), data=_data(table))})
        for picture in sorted(report.folder.glob("*.png")):
            run.log({f"figures/{Path(picture).stem}": wandb.Image(str(picture))})


def _data(table: Table) -> list[list[object]]:
    """Return rows for W&B, whose columns hold one type each: plain figures for the records, text for other tables."""
    if table.name == "records":
        return [list(row) for row in table.rows]
    return list(map(list, table.shown()))
