"""A progress bar for slow loops, on terminals; it needs no library, since devices use it too."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_PATIENCE_SECONDS = 2.0
"""A loop whose estimated time is shorter than this gets no bar."""
_LOOK_AFTER_SECONDS, _REDRAW_SECONDS = 0.2, 0.2
_WIDTH = 30


def with_bar(items: Iterable[T], total: int, title: str) -> Iterator[T]:
    """Yield items, with a bar on standard error if it is a terminal and all items are estimated to take over 2 seconds.

    Args:
        items: items to yield, unchanged.
        total: number of items.
        title: text beside the bar.
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
