"""Core use: whether a run had its cores to itself, or other programs may have inflated its CPU-seconds."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from typing import Any

from tbft.energy.sensors.cpu_time import machine_busy_seconds, tree_cpu_seconds

BUSY_THREADS = 0.1
"""Hardware threads that other programs may keep busy on average and still be ignored."""


@dataclass(frozen=True)
class CoreUse:
    """A reading of processor time at one moment.

    Attributes:
        machine_seconds: Processor time of all programs together since boot.
        own_seconds: Processor time of this process and all its children.
        switches: Number of times that the kernel gave this process's core to another thread (involuntary switches).
    """

    machine_seconds: float
    own_seconds: float
    switches: int

    @classmethod
    def now(cls) -> CoreUse:
        """Read the counters."""
        switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        return cls(machine_busy_seconds(), tree_cpu_seconds(), switches)

    def since(self, start: CoreUse, seconds: float, threads: int) -> dict[str, Any]:
        """Return what kept the cores busy from `start` until this reading, for the record's `conditions`.

        The threads of a numerical library wait for one another in a loop that keeps their cores busy. If one of them
        loses its core to another program, the rest spin until it is back: the same work then costs many times the
        CPU-seconds. This happens only if several threads compute, other programs run, and there are fewer cores than
        both together want.

        Args:
            start: The reading at the beginning.
            seconds: Wall-clock seconds between the two readings.
            threads: Number of threads that the run computes with.

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
    """Return the number of hardware threads that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spinning_note(load: dict[str, Any]) -> str:
    """Return the sentence for the record's notes on CPU-seconds that other programs inflated.

    Args:
        load: The figures that `CoreUse.since` returned.
    """
    return (
        f"other programs kept {load['other_programs_threads']:.2f} hardware threads busy while this run computed with "
        f"{load['computing_threads']}: threads that wait for one another spin, so its CPU-seconds may be far too high"
    )
