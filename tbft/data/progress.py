"""A bar for what takes long, and none for what does not."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_PATIENCE_SECONDS = 2.0
_LOOK_AFTER_SECONDS = 0.2


def with_bar(items: Iterable[T], total: int, title: str) -> Iterator[T]:
    """Pass items on, with a bar from the moment at which all are seen to take over two seconds.

    Args:
        items: what is passed on.
        total: how many there are.
        title: stands beside the bar.
    """
    began, done, rest = time.monotonic(), 0, iter(items)
    for item in rest:
        yield item
        done += 1
        spent = time.monotonic() - began
        if spent > _LOOK_AFTER_SECONDS and spent / done * total > _PATIENCE_SECONDS:
            break
    else:
        return
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task(title, total=total, completed=done)
        for item in rest:
            yield item
            bar.advance(task)
