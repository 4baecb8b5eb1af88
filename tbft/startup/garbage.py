"""When a process of ours looks for garbage: not while it loads, not in what it has loaded, and not at its end.

Importing torch and Lightning makes half a million objects that live as long as the process. Python's collector walks
through all of them several times while they become more, and once more at the exit, and finds nothing: 0.6 and 0.4
CPU-seconds of a small run. Somebody else's process, in which ``tbft.cli.main`` is called, stays as it is.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import IOBase
from types import SimpleNamespace

_USUAL = gc.get_threshold()
_state = SimpleNamespace(loading=False)


@contextmanager
def spared_collections() -> Iterator[None]:
    """Collect nothing until ``collect_from_now_on``, and nothing when the process ends."""
    _state.loading = True
    gc.set_threshold(0)
    try:
        yield
    finally:
        _flush_open_files()
        gc.freeze()


def collect_from_now_on() -> None:
    """Collect the garbage of what is made from now on, as usual, in a process that was spared it so far."""
    if _state.loading:
        _state.loading = False
        gc.freeze()
        gc.set_threshold(*_USUAL)


def _flush_open_files() -> None:
    """Write what somebody's callback left in an open file, as the last collection would."""
    for made in gc.get_objects():  # without what was loaded, once that is frozen
        if issubclass(type(made), IOBase):  # a proxy pretends to be what it may no longer be
            with suppress(Exception):  # closed, detached, or a class of somebody's own
                made.flush()
