"""Import torch faster, with garbage collection paused."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing_torch() -> Iterator[None]:
    """Pause garbage collection within this context, in which torch is imported for the first time.

    Importing torch makes half a million objects that live as long as the process, and Python's collector walks through
    them again and again while their number grows: a tenth of a CPU-second and more. Collection at the exit of the
    process is not changed, since the process belongs to the caller.
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
            gc.unfreeze()  # puts all objects into the oldest generation, which is collected seldom
        gc.enable()
