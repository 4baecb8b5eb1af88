"""A bar for what takes long, on a terminal that can show one; without a library."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_PATIENCE_SECONDS, _EVERY_SECONDS = 1.0, 0.2
_WIDTH = 30


def with_bar(items: Iterable[T], total: int, title: str) -> Iterator[T]:
    """Pass items on, with a bar on standard error once a second has passed; none where that is no terminal.

    Args:
        items: what is passed on.
        total: how many there are.
        title: stands beside the bar.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    began, shown = time.monotonic(), 0.0
    try:
        for done, item in enumerate(items):
            now = time.monotonic()
            if now - began > _PATIENCE_SECONDS and now - shown > _EVERY_SECONDS:
                filled = round(_WIDTH * done / max(total, 1))
                sys.stderr.write(f"\r{title} [{'#' * filled}{'.' * (_WIDTH - filled)}] {done}/{total}")
                sys.stderr.flush()
                shown = now
            yield item
    finally:
        if shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
