"""Processor time of this process, of its children and of the whole machine."""

from __future__ import annotations

import os
import resource
from pathlib import Path


def process_cpu_seconds() -> float:
    """Return user and system time of all threads of this process and of its ended children, in seconds."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime + children_cpu_seconds()


def children_cpu_seconds() -> float:
    """Return user and system time of this process's ended children, in seconds."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def tree_cpu_seconds() -> float:
    """Return the sum of `process_cpu_seconds` and the processor time of all descendants that still run.

    This searches the machine's processes, which takes milliseconds: too long for every edge of a phase. Without psutil,
    as on a device without torch, descendants that still run are left out; a bundle starts none.
    """
    try:
        import psutil
    except ImportError:
        return process_cpu_seconds()

    seconds = process_cpu_seconds()
    for child in psutil.Process().children(recursive=True):
        try:
            seconds += sum(child.cpu_times()[:4])  # user and system time, its own and that of its ended children
        except psutil.Error:  # it has ended in the meantime
            continue
    return seconds


def machine_busy_seconds() -> float:
    """Return the processor time of all programs together since boot, in seconds, summed over hardware threads.

    On Linux this needs no psutil, which a device without torch does not have.
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
