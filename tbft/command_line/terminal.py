"""What a run tells on the terminal beside its result."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities import rank_zero_only


@contextmanager
def log_to_terminal() -> Iterator[None]:
    """Show the choices that a run makes (where images and features lie, the number format), and its warnings.

    Choices go to standard output, warnings to standard error. Of several processes only the first tells its choices.
    """
    log, before = logging.getLogger("tbft"), logging.getLogger("tbft").level
    choices, warned = logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)
    choices.addFilter(lambda record: record.levelno < logging.WARNING and rank_zero_only.rank == 0)  # type: ignore[attr-defined]
    warned.setLevel(logging.WARNING)
    log.setLevel(logging.INFO)
    for handler in (choices, warned):
        log.addHandler(handler)
    try:
        yield
    finally:
        for handler in (choices, warned):
            log.removeHandler(handler)
        log.setLevel(before)
