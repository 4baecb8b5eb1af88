"""A bar for what takes long, on a terminal that can show one; without a library, since devices have it too."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_PATIENCE_SECONDS = 2.0
"""What is seen to take less than this has no bar."""
_LOOK_AFTER_SECONDS, _REDRAW_SECONDS = 0.2, 0.2
_WIDTH = 30


def with_bar(items: Iterable[T], total: int, title: str) -> Iterator[T]:
    """Pass items on, with a bar on standard error once all are seen to take over two seconds; none without a terminal.

    Args:
        items: what is passed on.
        total: how many there are.
        title: stands beside the bar.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    began = drawn = time.monotonic()
    shown = False
    try:
        for done, item in enumerate(items):
            now = time.monotonic()
            slow = done and now - began > _LOOK_AFTER_SECONDS and (now - began) * total / done > _PATIENCE_SECONDS
            if (shown or slow) and now - drawn >= _REDRAW_SECONDS:
                filled = round(_WIDTH * done / total)
                sys.stderr.write(f"\r{title} [{'#' * filled}{'.' * (_WIDTH - filled)}] {done}/{total}")
                sys.stderr.flush()
                drawn, shown = now, True
            yield item
    finally:
        if shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
