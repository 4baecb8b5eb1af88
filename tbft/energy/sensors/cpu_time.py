"""Processor time: of this process, of its children, of the whole machine."""

from __future__ import annotations

import resource


def process_cpu_seconds() -> float:
    """Returns user and system time of all threads of this process and of its children that have ended."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime + children_cpu_seconds()


def children_cpu_seconds() -> float:
    """Returns user and system time of this process's children that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def machine_busy_seconds() -> float:
    """Returns the processor time that all programs together have used since boot, over all threads."""
    import psutil

    times = psutil.cpu_times()
    # Guest time is already part of user and nice time.
    counted = ("user", "nice", "system", "irq", "softirq", "steal", "interrupt", "dpc")
    return sum(getattr(times, kind, 0.0) for kind in counted)
