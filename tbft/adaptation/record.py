"""The record of an adaptation, as ``result.json`` stores it."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import torch

from tbft.adaptation.adaptation import Adaptation
from tbft.models.classifier import Classifier
from tbft.runs.revision import revision
from tbft.schema import PHASES, SCHEMA, RunRecord, Status


def make_record(
    adaptation: Adaptation, status: Status, *, name: str, config_hash: str, error: str | None = None
) -> RunRecord:
    """Stop the meter and return the run's record.

    Args:
        adaptation: the adaptation that ran.
        status: ``completed``, ``interrupted`` or ``failed``.
        name: name of the run's folder.
        config_hash: hash of the resolved options.
        error: why the run was not completed, in one line; ``None`` if it was.
    """
    meter, keep, freeze = adaptation.meter, adaptation.keep, adaptation.freeze
    metered = meter.finish(idle=status == "completed")  # measuring idle power would make an interrupted user wait
    process = meter.process_record(adaptation.data.reading_test)
    data, chain, drift = adaptation.data, adaptation.classifier.model, adaptation.data.drift
    level = drift.level or freeze.level
    phases = dict.fromkeys((*PHASES, "adaptation"), 0.0)
    found: RunRecord = {
        "schema": SCHEMA,
        "status": status,
        "error": error,
        "name": name,
        "config_hash": config_hash,
        "seed": adaptation.seed,
        "dataset": data.name,
        "drift": {"level": level, "name": drift.name, "severity": drift.severity},
        "strategy": adaptation.strategy,
        "blocks": adaptation.blocks,
        "level_block": chain.block_of(level) if level else None,
        "statistics": adaptation.statistics,
        "train_size": data.train_size or sum(len(x) for x in (data.train, data.val) if x is not None),
        "accuracy": {
            "base": adaptation.test_accuracy["base"],
            "validation": keep.best.accuracy if keep.best else None,
            "test": adaptation.test_accuracy["kept"],
            "base_validation": keep.base.accuracy if keep.base else None,
        },
        "kept": keep.kept,
        "kept_reason": keep.reason,
        "joules": {**phases, **metered.get("joules", {})},
        "cpu_seconds": {**phases, **metered.get("cpu_seconds", {})},
        "wall_seconds": {**phases, **metered.get("wall_seconds", {})},
        "process_cpu_seconds": process["cpu_seconds"],
        "process": process,
        "joules_net": metered.get("joules_net"),
        "energy_source": metered.get("energy_source", {"measured": False}),
        "co2e_grams": metered.get("co2e_grams", 0.0),
        "idle": metered.get("idle"),
        "conditions": metered.get("conditions"),
        "void": metered.get("void"),
        "stopped_by": metered.get("stopped_by"),
        "peak_rss_mib": meter.peak_rss_mib,
        "parameters": {
            "trained": sum(p.numel() for p in chain.parameters() if p.requires_grad),
            "total": sum(p.numel() for p in chain.parameters()),
        },
        "epochs": adaptation.progress.epochs,
        "steps": adaptation.progress.steps,
        "curve": adaptation.progress.curve,
        "skipped_pictures": data.skipped,
        "environment": _environment(adaptation.classifier),
    }
    if drift.levels is not None:
        found["drift"]["levels"] = list(drift.levels)
    adaptation.add_to(found)
    return found


def as_text(record: RunRecord) -> str:
    """Return the text of ``result.json``."""
    return json.dumps(record, indent=1) + "\n"


def _environment(classifier: Classifier) -> dict[str, Any]:
    device = next(classifier.parameters()).device
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "number_format": classifier.number_format.name if classifier.number_format else None,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "revision": revision(),
        "machine": f"{platform.machine()} {_processor()}".strip(),
    }


def _processor() -> str:
    """Return the board's model where there is one (Raspberry Pi), else the processor's name."""
    model = Path("/proc/device-tree/model")
    if model.is_file():
        return model.read_text().strip("\0\n ")
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
