"""What a run's process costs beside the phases: imports, testing, tracking, child processes; and its peak memory."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

from tbft.energy.sensors.cpu_time import tree_cpu_seconds


class ProcessCost:
    """CPU-seconds, seconds and peak memory of this process that belong to one run.

    The first run of a process pays for everything since the process began, its imports above all. A later run in the
    same process (a study that does not isolate its cells) pays from its own construction on.
    """

    _constructed: ClassVar[int] = 0

    def __init__(self) -> None:
        """Begins a run."""
        self._first = ProcessCost._constructed == 0
        ProcessCost._constructed += 1
        self._cpu_start = 0.0 if self._first else tree_cpu_seconds()
        self._start = _process_start() if self._first else time.time()
        self._peak_before = _peak_rss_mib() if self._first else 0.0
        self._peak_counts_anew = _reset_peak()

    def peak_rss_mib(self) -> float:
        """Returns the peak resident memory since construction in MiB; of the whole process outside of Linux."""
        if self._peak_counts_anew:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    return int(line.split()[1]) / 1024
        return _peak_rss_mib()

    def record(self) -> dict[str, Any]:
        """Returns the cost until now.

        Returns:
            `since`, which is `process start` or `run start`; from then on `cpu_seconds` of all threads and all child
            processes, `wall_seconds`, and `peak_rss_mib`, testing included.
        """
        return {
            "since": "process start" if self._first else "run start",
            "cpu_seconds": tree_cpu_seconds() - self._cpu_start,
            "wall_seconds": time.time() - self._start,
            "peak_rss_mib": max(self._peak_before, self.peak_rss_mib()),
        }


def _reset_peak() -> bool:
    """Lets the kernel count this process's peak memory from now on; returns whether it does (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak_rss_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)


def _process_start() -> float:
    import psutil

    return float(psutil.Process().create_time())
