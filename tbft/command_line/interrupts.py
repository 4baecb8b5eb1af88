"""Handle Ctrl-C and SIGTERM: end the process at once while it loads, and raise an exception once a command works.

During an import any module could swallow the exception or turn it into another one, and there is nothing to record yet.
"""

from __future__ import annotations

import os
import signal
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM was received: the run ends as after Ctrl-C, but with its own exit code."""


def end_at_once(number: int, frame: Any) -> None:
    """End the process without output, with the exit code of this signal."""
    os._exit(128 + number)


def raise_terminated(number: int, frame: Any) -> None:
    """Raise ``Terminated``."""
    raise Terminated


def end_at_once_while_loading() -> None:
    """Let SIGINT and SIGTERM end the process at once, until ``raise_from_now_on``; ignored signals stay ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end_at_once)


def raise_from_now_on() -> None:
    """Let SIGINT and SIGTERM raise exceptions, if ``end_at_once_while_loading`` was called before."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, raise_terminated)):
        if signal.getsignal(number) is end_at_once:
            signal.signal(number, handler)
