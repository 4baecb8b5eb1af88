"""What a run did and found: the record in ``result.json``."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from tbft.callbacks.block_freeze import BlockFreezeCallback
from tbft.callbacks.energy import EnergyCallback
from tbft.callbacks.keep_best import KeepBestCallback
from tbft.data import DomainData
from tbft.module import ImageClassifier
from tbft.schema import PHASES, SCHEMA, CurveEntry, RunRecord, Status


class RunRecordCallback(Callback):
    """Collects a run's figures for ``result.json``.

    Args:
        folder: the run's folder.
        config_hash: of the resolved configuration.
        freeze: which blocks train.
        energy: energy and time by phase.
        keep: what was kept.
        seed: of the run.
    """

    def __init__(
        self,
        folder: Path,
        config_hash: str,
        freeze: BlockFreezeCallback,
        energy: EnergyCallback,
        keep: KeepBestCallback,
        seed: int,
    ) -> None:
        self.folder, self.config_hash, self.seed = folder, config_hash, seed
        self.freeze, self.energy, self.keep = freeze, energy, keep
        self.curve: list[CurveEntry] = []
        self.steps, self.epochs = 0, 0
        self.accuracy: dict[str, float | None] = {"base": None, "test": None}

    def state_dict(self) -> dict[str, Any]:
        """The learning curve and the counts so far."""
        return {"curve": self.curve, "epochs": self.epochs, "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the curve of the interrupted run."""
        self.curve, self.epochs, self.steps = (state_dict[key] for key in ("curve", "epochs", "steps"))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """One more point of the learning curve, over energy and time."""
        if trainer.state.fn != "fit":
            return
        joules, seconds = self.energy.spent()
        assert isinstance(pl_module, ImageClassifier)
        score = pl_module.scores["val"]
        self.curve.append(
            {
                "epoch": trainer.current_epoch,
                "step": trainer.global_step,
                "validation_loss": score.loss,
                "validation_accuracy": score.accuracy,
                "joules": joules,
                "wall_seconds": seconds,
            }
        )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count."""
        self.epochs, self.steps = trainer.current_epoch + 1, trainer.global_step

    def update_process_cost(self, record: RunRecord) -> None:
        """Book to a record what the process has spent since it was made, such as on drawing and on loggers."""
        record["process"] = self.energy.process.record()
        record["process_cpu_seconds"] = record["process"]["cpu_seconds"]

    def record(self, status: Status, module: ImageClassifier, data: DomainData, error: str | None = None) -> RunRecord:
        """The record of a run that was completed, interrupted or failed, as in the file.

        Args:
            status: ``completed``, ``interrupted`` or ``failed``.
            module: the classifier.
            data: its data.
            error: why the run was not completed, in one line.
        """
        metered = self.energy.finish(idle=status == "completed")  # who interrupts a run does not want to wait
        process = self.energy.process.record()
        keep, drift = self.keep, data.drift
        level = drift.level or self.freeze.level
        phases = dict.fromkeys((*PHASES, "adaptation"), 0.0)
        energy_source = metered.get("energy_source", {"measured": False})
        return {
            "schema": SCHEMA,
            "status": status,
            "error": error,
            "name": self.folder.name,
            "config_hash": self.config_hash,
            "seed": self.seed,
            "dataset": data.name,
            "drift": {"level": level, "name": drift.name, "severity": drift.severity},
            "strategy": self.freeze.strategy_of(module.model, data),
            "blocks": [name for name in self.freeze.target if name != "pool"],
            "level_block": module.model.block_of(level) if level else None,
            "statistics": self.freeze.statistics,
            "train_size": data.train_size or sum(len(x) for x in (data.train, data.val) if x is not None),
            "accuracy": {
                "base": self.accuracy["base"],
                "validation": keep.best.accuracy if keep.best else None,
                "test": self.accuracy["test"],
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
            "energy_source": energy_source,
            "co2e_grams": metered.get("co2e_grams", 0.0),
            "idle": metered.get("idle"),
            "conditions": metered.get("conditions"),
            "void": metered.get("void"),
            "stopped_by": metered.get("stopped_by"),
            "peak_rss_mib": self.energy.peak_rss_mib,
            "parameters": {
                "trained": sum(p.numel() for p in module.model.parameters() if p.requires_grad),
                "total": sum(p.numel() for p in module.model.parameters()),
            },
            "epochs": self.epochs,
            "steps": self.steps,
            "curve": self.curve,
            "skipped_pictures": data.skipped,
            "environment": {
                "torch": torch.__version__,
                "python": platform.python_version(),
                "device": _device_name(module),
                "number_format": module.number_format.name if module.number_format else None,
                "threads": torch.get_num_threads(),
                "machine": f"{platform.machine()} {_processor()}".strip(),
            },
        }


def as_text(record: RunRecord) -> str:
    """A record as its file has it."""
    return json.dumps(record, indent=1) + "\n"


def _device_name(module: ImageClassifier) -> str:
    device = module.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _processor() -> str:
    """The processor's name, or a board's model where there is one (Raspberry Pi)."""
    model = Path("/proc/device-tree/model")
    if model.is_file():
        return model.read_text().strip("\0\n ")
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
