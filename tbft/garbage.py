"""When Python looks for garbage: not while torch is loaded, and not when the process ends.

Importing torch and Lightning makes half a million objects that live as long as the process. Python's collector walks
through all of them several times while they become more, and once more at the exit, and finds nothing: 0.6 and 0.4
CPU-seconds of a small run. A process of our own (``python -m tbft``) never walks through what it has loaded. In
somebody else's the collector is left as it was found, and only its walk at the exit is spared if we imported torch.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_USUAL = gc.get_threshold()
_NEVER = 0  # as the first threshold


@contextmanager
def spared_collections() -> Iterator[None]:
    """Collect nothing until ``collect_from_now_on``, and nothing when the process ends."""
    gc.set_threshold(_NEVER)
    try:
        yield
    finally:
        gc.freeze()


@contextmanager
def importing_torch() -> Iterator[None]:
    """Spare somebody else's process the walks through torch, if it is imported within and was not before.

    Objects that hang in a cycle when the process ends are not finalized then, of which Python gives no guarantee.
    """
    if "torch" in sys.modules or not gc.isenabled() or gc.get_freeze_count():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()  # what was loaded is now old, and looked at seldom
        gc.enable()
        if "torch" in sys.modules:
            atexit.register(gc.freeze)


def collect_from_now_on() -> None:
    """Collect the garbage of what is made from now on, as usual, in a process that has collected nothing so far."""
    if gc.get_threshold()[0] == _NEVER:
        gc.freeze()
        gc.set_threshold(*_USUAL)
