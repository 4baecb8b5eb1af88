"""Whether a run had its cores for itself, and what other programs do to its CPU-seconds."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from typing import Any

from tbft.energy.sensors.cpu_time import machine_busy_seconds, tree_cpu_seconds

BUSY_THREADS = 0.1
"""Other programs that keep fewer hardware threads busy on average than this count as none."""


@dataclass(frozen=True)
class CoreUse:
    """Processor time since boot, read at one moment.

    Attributes:
        machine_seconds: Of all programs together.
        own_seconds: Of this process and all its children.
        switches: How often the kernel took a core away from this process for somebody else's sake.
    """

    machine_seconds: float
    own_seconds: float
    switches: int

    @classmethod
    def now(cls) -> CoreUse:
        """Reads the counters."""
        switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        return cls(machine_busy_seconds(), tree_cpu_seconds(), switches)

    def since(self, start: CoreUse, seconds: float, threads: int) -> dict[str, Any]:
        """Returns what kept the cores busy from `start` until now, for the record's `conditions`.

        The threads of a numerical library wait for one another in a loop that keeps their cores busy. If one of them
        loses its core to another program, the rest spin until it is back: the same work then costs many times the
        CPU-seconds. That needs several threads, other programs, and fewer cores than both want.

        Args:
            start: The reading at the beginning.
            seconds: Wall-clock seconds between the two readings.
            threads: With how many threads the run computes.

        Returns:
            `own_threads` and `other_programs_threads`, the hardware threads that this process and other programs kept
            busy on average; `computing_threads`, the argument; `involuntary_switches`; and `cpu_seconds_inflated`.
        """
        own = self.own_seconds - start.own_seconds
        others = max(0.0, self.machine_seconds - start.machine_seconds - own) / max(seconds, 1e-9)
        crowded = others > BUSY_THREADS and threads + others > available_cores()
        return {
            "own_threads": own / max(seconds, 1e-9),
            "other_programs_threads": others,
            "computing_threads": threads,
            "involuntary_switches": self.switches - start.switches,
            "cpu_seconds_inflated": threads > 1 and crowded,
        }


def available_cores() -> int:
    """Returns the number of hardware threads that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spinning_note(load: dict[str, Any]) -> str:
    """Returns the sentence for the record's notes.

    Args:
        load: What `CoreUse.since` returned.
    """
    return (
        f"other programs kept {load['other_programs_threads']:.2f} hardware threads busy while this run computed with "
        f"{load['computing_threads']}: threads that wait for one another spin, so its CPU-seconds may be far too high"
    )
