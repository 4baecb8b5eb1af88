"""How a process of ours ends: the system takes its memory back, and nothing is unloaded before."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def left_without_unloading() -> Iterator[None]:
    """Let a ``SystemExit`` from within end the process as always, but for the unloading of all modules.

    Threads are waited for, what was registered with ``atexit`` runs, and output is flushed. Taking torch and Lightning
    apart object by object is left out: 0.12 CPU-seconds after every run.
    """
    try:
        yield
    except SystemExit as ending:
        if isinstance(ending.code, int):
            atexit.register(_leave, ending.code)  # the newest runs first
        raise


def _leave(code: int) -> None:
    atexit.unregister(_leave)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or nobody reads: the exit code has been decided
            stream.flush()
    os._exit(code)
