"""Torch is imported without a look for garbage meanwhile."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing_torch() -> Iterator[None]:
    """Import torch within this context; the collector is then as it was.

    Importing makes half a million objects that live as long as the process, and Python's collector walks through them
    again and again while they become more: a tenth of a CPU-second and more. Whether it also walks through them at the
    exit is for the process that imports us to decide.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()  # all there is counts as old, which is looked at seldom
        gc.enable()
