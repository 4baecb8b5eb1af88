"""Ctrl-C and SIGTERM: they end the process at once while it loads, and are exceptions once a command works.

An exception in the middle of an import is anybody's to swallow or to turn into another one, and nothing is to be
recorded yet.
"""

from __future__ import annotations

import os
import signal
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM: the run ends as after Ctrl-C, with an exit code of its own."""


def end_at_once(number: int, frame: Any) -> None:
    """End the process with the exit code of this signal, and without a word."""
    os._exit(128 + number)


def raise_terminated(number: int, frame: Any) -> None:
    """Make an exception of SIGTERM."""
    raise Terminated


def end_at_once_while_loading() -> None:
    """Let signals end the process, until a command says otherwise. An ignored Ctrl-C stays ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end_at_once)


def raise_from_now_on() -> None:
    """Make exceptions of signals that would end the process."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, raise_terminated)):
        if signal.getsignal(number) is end_at_once:
            signal.signal(number, handler)
