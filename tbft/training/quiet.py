"""Suppresses Lightning's messages that do not apply here."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Parts of Lightning's messages that do not apply here, where the data is in memory.
_NOISE = (
    "does not have many workers",
    "smaller than the logging interval",
    "LightningCLI's args",
    "in eval mode at the start of training",
    "exists and is not empty",
    "configure_optimizers. returned .None",
    "srun. command",
    "LeafSpec",
    "It is recommended to use .self.log",  # every process evaluates all images
)


def quiet_lightning() -> None:
    """Suppress Lightning's information messages, and its warnings that do not apply here."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in _NOISE:
        warnings.filterwarnings("ignore", message=f".*{text}")


@contextmanager
def quiet() -> Iterator[None]:
    """Do as ``quiet_lightning`` within a context, and restore loggers and warning filters at its end."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [log.level for log in loggers]
    with warnings.catch_warnings():
        quiet_lightning()
        try:
            yield
        finally:
            for log, level in zip(loggers, levels, strict=True):
                log.setLevel(level)
