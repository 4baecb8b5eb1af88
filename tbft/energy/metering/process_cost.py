"""Cost of a run's process from its start on, with imports, tracking and child processes; and its peak memory."""

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

    The first run that begins in a process is charged for everything since the process began, mostly imports. A later
    run in the same process (a study that does not isolate its cells) is charged from the construction of its
    `ProcessCost` on, which comes before its images are read. Construction only reads clocks: a `ProcessCost` that
    never begins does not count as a run.
    """

    _begun: ClassVar[int] = 0

    def __init__(self) -> None:
        """Read the clocks; the run does not begin yet."""
        self._cpu_start, self._start = tree_cpu_seconds(), time.time()
        self._has_begun = self._first = self._peak_counts_anew = False
        self._peak_before = 0.0
        self._peak_of_adaptation: float | None = None

    def begin(self) -> None:
        """Begin the run, once: decide whether it is the process's first, and let peak memory count anew."""
        if self._has_begun:
            return
        self._has_begun, self._first = True, ProcessCost._begun == 0
        ProcessCost._begun += 1
        if self._first:
            self._cpu_start, self._start, self._peak_before = 0.0, _process_start(), _peak_rss_mib()
        self._peak_counts_anew = _reset_peak()

    def end_adaptation(self) -> None:
        """Fix the adaptation's peak memory at its present value: memory used after this call does not count."""
        self._peak_of_adaptation = self.peak_rss_mib()

    def peak_rss_mib(self) -> float:
        """Return the adaptation's peak resident memory so far in MiB, from its beginning to the beginning of testing.

        Where the kernel cannot reset the peak (outside of Linux), it is that of the process since its start.
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
        """Return the cost until now.

        Args:
            metered: Record of the run's meter after it has stopped; None or empty if there was no meter.
            reading_test: CPU-seconds and seconds that reading the test images took outside of the phases.

        Returns:
            `since` and `until`, as `tbft.schema` names them; `cpu_seconds` of all threads and all child processes;
            `wall_seconds`; `joules`, which adds to the metered joules the mean metered power, `mean_watts`, for the
            seconds before and after the meter ran (both None without a meter); `test`, the part of these three that
            testing and reading the test images took, which a device does not do; and `peak_rss_mib` up to the end of
            the adaptation.
        """
        self.begin()  # needed for a run that failed before it began
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
    """Return a process's cost up to its exit, from its own record and what its parent process saw.

    Args:
        cost: The process's own record, from `ProcessCost.record`.
        cpu_seconds: Processor time of the process and of its ended children, as the parent saw it.
        wall_seconds: Seconds from the process's start to its exit, as the parent saw them.

    Returns:
        The record with `until` at the exit. The larger of the two figures counts for each kind of seconds, and joules
        grow by the mean power for the seconds since the record.
    """
    cpu_seconds, wall_seconds = max(cpu_seconds, cost["cpu_seconds"]), max(wall_seconds, cost["wall_seconds"])
    found = {**cost, "until": EXIT, "cpu_seconds": cpu_seconds, "wall_seconds": wall_seconds}
    if cost["joules"] is not None:
        found["joules"] = cost["joules"] + cost["mean_watts"] * (wall_seconds - cost["wall_seconds"])
    return found


def _reset_peak() -> bool:
    """Let the kernel count this process's peak memory anew from now on; return whether it does (only on Linux)."""
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
