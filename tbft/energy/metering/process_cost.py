"""What a run's process costs from its start on: imports, phases, tracking, child processes; and its peak memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tbft.energy.sensors.cpu_time import tree_cpu_seconds
from tbft.schema import EXIT, PHASES, PROCESS_START, RECORDED, RUN_START


class ProcessCost:
    """CPU-seconds, seconds and peak memory of this process that belong to one run.

    The first run that begins in a process pays for everything since the process began, its imports above all. A later
    run in the same process (a study that does not isolate its cells) pays from its own construction on, for that is
    before its images are read. Construction itself only reads clocks: what is made and never begins is no run.
    """

    _begun: ClassVar[int] = 0

    def __init__(self) -> None:
        """Reads the clocks."""
        self._cpu_start, self._start = tree_cpu_seconds(), time.time()
        self._has_begun = self._first = self._peak_counts_anew = False
        self._peak_before = 0.0
        self._peak_of_adaptation: float | None = None

    def begin(self) -> None:
        """Begins the run, once: whether it is the process's first is decided, and peak memory counts from here on."""
        if self._has_begun:
            return
        self._has_begun, self._first = True, ProcessCost._begun == 0
        ProcessCost._begun += 1
        if self._first:
            self._cpu_start, self._start, self._peak_before = 0.0, _process_start(), _peak_rss_mib()
        self._peak_counts_anew = _reset_peak()

    def end_adaptation(self) -> None:
        """Reads the adaptation's peak memory: what follows is no part of it."""
        self._peak_of_adaptation = self.peak_rss_mib()

    def peak_rss_mib(self) -> float:
        """Returns the adaptation's peak resident memory so far in MiB, from its beginning to where testing begins.

        Outside of Linux it is that of the process, from its beginning.
        """
        if self._peak_of_adaptation is not None:
            return self._peak_of_adaptation
        if self._peak_counts_anew:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    return int(line.split()[1]) / 1024
        return _peak_rss_mib()

    def record(
        self, metered: Mapping[str, Any] | None = None, *, reading_test: tuple[float, float] = (0.0, 0.0)
    ) -> dict[str, Any]:
        """Returns the cost until now.

        Args:
            metered: What the run's meter recorded once it had stopped.
            reading_test: CPU-seconds and seconds that reading the test images took outside of the phases.

        Returns:
            `since` and `until`, as `tbft.schema` names them; `cpu_seconds` of all threads and all child processes,
            `wall_seconds`, and `joules` (None without a meter): the metered ones, and the mean power for the seconds
            before and after the meter ran, `mean_watts`; `test`, the part of these three that testing and reading the
            test images took, which a device does not do; and `peak_rss_mib` up to the end of the adaptation.
        """
        self.begin()  # a run that failed before it began
        cost: dict[str, Any] = {
            "since": PROCESS_START if self._first else RUN_START,
            "until": RECORDED,
            "cpu_seconds": tree_cpu_seconds() - self._cpu_start,
            "wall_seconds": time.time() - self._start,
            "peak_rss_mib": max(self._peak_before, self.peak_rss_mib()),
            "joules": None,
            "mean_watts": None,
            "test": {"cpu_seconds": reading_test[0], "wall_seconds": reading_test[1], "joules": None},
        }
        if not metered:
            return cost
        joules, seconds = metered["joules"], metered["wall_seconds"]
        outside = metered["outside_phases"]
        known = sum(joules.get(phase, 0.0) for phase in PHASES) + outside["joules"]
        elapsed = sum(seconds.get(phase, 0.0) for phase in PHASES) + outside["wall_seconds"]
        watts = known / elapsed if elapsed > 0 else 0.0
        cost["mean_watts"] = watts
        cost["joules"] = known + watts * max(0.0, cost["wall_seconds"] - elapsed)
        cost["test"]["cpu_seconds"] += metered["cpu_seconds"].get("test", 0.0)
        cost["test"]["wall_seconds"] += seconds.get("test", 0.0)
        cost["test"]["joules"] = joules.get("test", 0.0) + watts * reading_test[1]
        return cost


def up_to_exit(cost: Mapping[str, Any], cpu_seconds: float, wall_seconds: float) -> dict[str, Any]:
    """Returns a process's cost up to its end, from what it recorded of itself and what its parent saw.

    Args:
        cost: The process's own record.
        cpu_seconds: Of the process and of its children that have ended.
        wall_seconds: From its start to its end.
    """
    cpu_seconds, wall_seconds = max(cpu_seconds, cost["cpu_seconds"]), max(wall_seconds, cost["wall_seconds"])
    found = {**cost, "until": EXIT, "cpu_seconds": cpu_seconds, "wall_seconds": wall_seconds}
    if cost["joules"] is not None:
        found["joules"] = cost["joules"] + cost["mean_watts"] * (wall_seconds - cost["wall_seconds"])
    return found


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
