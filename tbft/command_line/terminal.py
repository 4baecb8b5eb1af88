"""Set what a run logs on the terminal besides its result."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities import rank_zero_only


@contextmanager
def log_to_terminal() -> Iterator[None]:
    """Log a run's choices (where images and features are kept, the number format) and its warnings, within a context.

    Choices go to standard output, warnings to standard error. If there are several processes, only the first logs its
    choices.
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
