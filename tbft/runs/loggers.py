"""The loggers of a run: a table in its folder, and Weights & Biases."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger

from tbft.runs.settings import RunSettings


def make_loggers(folder: Path, settings: RunSettings, tags: Sequence[str]) -> list[Logger]:
    """Make the loggers of a run.

    Args:
        folder: the run's folder; a file of metrics in it, from an interrupted part of the run, is renamed.
        settings: options of the run, among them whether and how Weights & Biases logs.
        tags: tags of the run in Weights & Biases, beside ``settings.tags``.
    """
    metrics = folder / "metrics.csv"
    if metrics.is_file():  # CSVLogger would delete the file
        metrics.replace(folder / f"metrics.until-{time.strftime('%Y%m%d-%H%M%S')}.csv")
    loggers: list[Logger] = [CSVLogger(folder, name="", version="")]
    if settings.wandb != "off" and not (settings.wandb == "auto" and os.environ.get("WANDB_MODE") == "disabled"):
        from tbft.runs.wandb_logger import RunLogger

        tags = [*tags, *settings.tags]
        loggers.append(RunLogger(folder, folder.name, settings.project, settings.wandb_offline, settings.group, tags))
    return loggers
