"""The loggers of a run: a table in its folder, and Weights & Biases."""

from __future__ import annotations

import os
import time
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger

from tbft.adaptation.adaptation import Adaptation
from tbft.runs.settings import RunSettings


def make_loggers(folder: Path, settings: RunSettings, adaptation: Adaptation) -> list[Logger]:
    """Make the loggers of a run.

    Args:
        folder: the run's folder; a file of metrics in it, from an interrupted part of the run, is renamed.
        settings: options of the run, among them whether and how Weights & Biases logs.
        adaptation: the adaptation, from whose level, data, strategy and blocks the run's tags are made.
    """
    metrics = folder / "metrics.csv"
    if metrics.is_file():  # CSVLogger would delete the file
        metrics.replace(folder / f"metrics.until-{time.strftime('%Y%m%d-%H%M%S')}.csv")
    loggers: list[Logger] = [CSVLogger(folder, name="", version="")]
    if settings.wandb != "off" and not (settings.wandb == "auto" and os.environ.get("WANDB_MODE") == "disabled"):
        from tbft.runs.wandb_logger import RunLogger

        data, freeze = adaptation.data, adaptation.freeze
        tags = [data.drift.level or freeze.level, data.name, adaptation.strategy]
        tags += [f"block:{name}" for name in adaptation.blocks]
        group = [*(tag for tag in tags if tag), *settings.tags]
        loggers.append(RunLogger(folder, folder.name, settings.project, settings.wandb_offline, settings.group, group))
    return loggers
