"""The learning curve of a fit, with energy and time of each point."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from tbft.adaptation.progress import Progress
from tbft.energy.run_meter import RunMeter
from tbft.module import ImageClassifier


class LearningCurveCallback(Callback):
    """Notes each validation of a fit, with the energy and time spent by then.

    Args:
        progress: progress that gets the points.
        meter: meter of the fit.
    """

    def __init__(self, progress: Progress, meter: RunMeter) -> None:
        self.progress, self.meter = progress, meter

    def state_dict(self) -> dict[str, Any]:
        """Return the curve and the counters so far."""
        return asdict(self.progress)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the curve and the counters of the interrupted run."""
        for name, value in state_dict.items():
            setattr(self.progress, name, value)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a point to the curve."""
        if trainer.state.fn != "fit":
            return
        assert isinstance(pl_module, ImageClassifier)
        score = pl_module.scores["val"]
        self.progress.note(trainer.current_epoch, trainer.global_step, score, *self.meter.spent())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Update the epoch and step counters."""
        self.progress.epochs, self.progress.steps = trainer.current_epoch + 1, trainer.global_step
