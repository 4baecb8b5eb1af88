"""Processor time: of this process, of its children, of the whole machine."""

from __future__ import annotations

import os
import resource
from pathlib import Path


def process_cpu_seconds() -> float:
    """Returns user and system time of all threads of this process and of its children that have ended."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime + children_cpu_seconds()


def children_cpu_seconds() -> float:
    """Returns user and system time of this process's children that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def tree_cpu_seconds() -> float:
    """Returns `process_cpu_seconds` and the time of all descendants that still run.

    It looks through the machine's processes, which takes milliseconds: not for every edge of a phase. Without psutil,
    as on a device without torch, descendants that still run are left out; a bundle starts none.
    """
    try:
        import psutil
    except ImportError:
        return process_cpu_seconds()

    seconds = process_cpu_seconds()
    for child in psutil.Process().children(recursive=True):
        try:
            seconds += sum(child.cpu_times()[:4])  # user, system, and those of its own children that have ended
        except psutil.Error:  # it ended meanwhile
            continue
    return seconds


def machine_busy_seconds() -> float:
    """Returns the processor time that all programs together have used since boot, over all threads.

    Linux tells it without psutil, which a device without torch does not have.
    """
    # Guest time is already part of user and nice time.
    try:
        line = Path("/proc/stat").read_text().split("\n", 1)[0].split()
        user, nice, system, _, _, irq, softirq, steal = (int(ticks) for ticks in line[1:9])
    except (OSError, ValueError):
        import psutil

        times = psutil.cpu_times()
        counted = ("user", "nice", "system", "irq", "softirq", "steal", "interrupt", "dpc")
        return sum(getattr(times, kind, 0.0) for kind in counted)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
