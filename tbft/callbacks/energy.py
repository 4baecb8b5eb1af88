"""Metering as a callback: book energy and time of a fit to its phases."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from tbft.energy.run_meter import RunMeter


class EnergyCallback(RunMeter, Callback):
    """Books joules, CPU-seconds and wall-seconds to the phases of a fit (see ``RunMeter``).

    It works in any LightningModule. The adaptation begins with the setup of this callback and ends with the teardown of
    the fit. List it first to book the setup of other callbacks too, which may trace a network. With several processes
    only the first one is metered, because readings are machine-wide.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> energy = EnergyCallback(codecarbon=False, budget_seconds=60)
        >>> trainer = Trainer(callbacks=[energy], logger=False)  # doctest: +SKIP
        >>> trainer.fit(module, loader)  # doctest: +SKIP
        >>> energy.finish()["joules"]["train"]  # doctest: +SKIP
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start the meter and the phase ``prepare`` of a fit; other stages adapt nothing and do not start the meter."""
        if stage == "fit" and trainer.is_global_zero:
            cuda = trainer.strategy.root_device.type == "cuda"
            self.start(threads=torch.get_num_threads(), synchronize=torch.cuda.synchronize if cuda else None)
            self.enter("prepare")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the phase ``prepare`` and begin ``train``."""
        self.leave()
        self.enter("train")
        self._stop_at_budget(trainer)  # preparing may have used up the budget

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Stop training if the budget is used up."""
        self._stop_at_budget(trainer)

    def _stop_at_budget(self, trainer: Trainer) -> None:
        if trainer.should_stop or (self.budget_joules is None and self.budget_seconds is None):
            return
        # All processes stop together, because only the first one has the meter.
        trainer.should_stop = trainer.strategy.reduce_boolean_decision(self.over_budget(), all=False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the phase ``validate``."""
        self.enter("validate")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the phase ``validate``."""
        self.leave()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End all open phases: ``train``, after other callbacks have ended, or ``prepare`` if nothing was trained."""
        while self.open:
            self.leave()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the adaptation and begin the phase ``test``."""
        self.end_adaptation()
        self.enter("test")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the phase ``test``."""
        self.leave()
