"""The record of an adaptation on a device: ``result.json``, with the same fields as a run's."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tbft.device.adaptation import Adaptation, Course
from tbft.device.bundle import Bundle
from tbft.device.pictures import Sample
from tbft.device.runtime import load_onnxruntime
from tbft.schema import PHASES, SCHEMA, Status


def make_record(
    status: Status,
    bundle: Bundle,
    sample: Sample | None,
    course: Course,
    made: Adaptation,
    metered: Mapping[str, Any],
    threads: int,
) -> dict[str, Any]:
    """Return the record of an adaptation, see ``tbft.schema.RunRecord``.

    Args:
        status: how the adaptation ended.
        bundle: the bundle that was adapted.
        sample: pictures it was adapted to; ``None`` if it ended before they were listed.
        course: options of the adaptation.
        made: result of the adaptation.
        metered: record of the energy meter; empty while it runs.
        threads: number of threads that computed.
    """
    options: dict[str, Any] = {"level": course.level, "seed": course.seed, "base": bundle.fingerprint}
    options |= {"block": asdict(course.block), "alignment": asdict(course.alignment)}
    level = None if course.level == "auto" else course.level
    source = metered.get("energy_source", {"measured": False})
    empty = dict.fromkeys((*PHASES, "adaptation"), 0.0)
    return {
        "schema": SCHEMA,
        "status": status,
        "name": bundle.path.stem,
        "config_hash": hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16],
        "seed": course.seed,
        "dataset": sample.dataset if sample else "",
        "drift": {"level": level, "name": "unknown", "severity": None},
        "strategy": made.strategy,
        "blocks": made.blocks,
        "statistics": made.statistics,
        "train_size": len(sample) if sample else 0,
        "accuracy": {
            "base": None,
            "validation": made.validation,
            "test": None,
            "base_validation": made.base_validation,
        },
        "kept": "adapted" if made.changed else "base",
        "kept_reason": None if made.changed else made.reason,
        **{name: {**empty, **metered.get(name, {})} for name in ("joules", "cpu_seconds", "wall_seconds")},
        "process_cpu_seconds": time.process_time(),
        "process": {
            "since": "process start",
            "cpu_seconds": time.process_time(),
            "wall_seconds": _seconds_since_start(),
            "peak_rss_mib": peak_mib(),
        },
        "joules_net": metered.get("joules_net"),
        "energy_source": source,
        "co2e_grams": metered.get("co2e_grams"),
        "idle": metered.get("idle"),
        "conditions": metered.get("conditions"),
        "void": metered.get("void"),
        "stopped_by": "seconds" if made.stopped else None,
        "peak_rss_mib": peak_mib(),
        "parameters": {"trained": made.trained, "total": int(bundle.manifest["parameters"])},
        "epochs": made.epochs,
        "steps": made.steps,
        "curve": made.curve,
        "skipped_pictures": made.skipped,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        **made.detail,
        "environment": {
            "torch": None,
            "onnxruntime": load_onnxruntime().__version__,
            "python": platform.python_version(),
            "device": "cpu",
            "number_format": "plain",
            "threads": threads,
            "machine": f"{platform.machine()} {_processor()}".strip(),
        },
    }


def peak_mib() -> float:
    """Return the peak resident memory of this process in MiB."""
    try:  # the kernel's other count includes the process that started this one
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)


def _seconds_since_start() -> float | None:
    """Return the wall-clock seconds since this process began; ``None`` where the system does not tell."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        return float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def _processor() -> str:
    """Return the model of the board where the system names one (Raspberry Pi), else the processor's name."""
    model = Path("/proc/device-tree/model")
    try:
        if model.is_file():
            return model.read_text().strip("\0\n ")
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
