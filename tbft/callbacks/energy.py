"""Energy and time of a fit, booked to its phases."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from tbft.energy.run_meter import RunMeter


class EnergyCallback(RunMeter, Callback):
    """Books joules, CPU-seconds and wall-seconds to the phases of a fit (see ``RunMeter``).

    Works in any LightningModule. The adaptation begins where this callback is set up (listed first it also books the
    setup of the others, in which a network is traced) and ends where the fit is torn down. On the first of several
    processes only, for readings are machine-wide.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> energy = EnergyCallback(codecarbon=False, budget_seconds=60)
        >>> trainer = Trainer(callbacks=[energy], logger=False)  # doctest: +SKIP
        >>> trainer.fit(module, loader)  # doctest: +SKIP
        >>> energy.finish()["joules"]["train"]  # doctest: +SKIP
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start the meter of a fit, which begins with preparing; other stages adapt nothing and are not metered."""
        if stage == "fit" and trainer.is_global_zero:
            cuda = trainer.strategy.root_device.type == "cuda"
            self.start(threads=torch.get_num_threads(), synchronize=torch.cuda.synchronize if cuda else None)
            self.enter("prepare")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From preparing to training."""
        self.leave()
        self.enter("train")
        self._stop_at_budget(trainer)  # preparing may have used it up

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Stop at the budget."""
        self._stop_at_budget(trainer)

    def _stop_at_budget(self, trainer: Trainer) -> None:
        if trainer.should_stop or (self.budget_joules is None and self.budget_seconds is None):
            return
        # Every process stops, for the first one alone sees the meter.
        trainer.should_stop = trainer.strategy.reduce_boolean_decision(self.over_budget(), all=False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation begins."""
        self.enter("validate")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation ends."""
        self.leave()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Training ends with what other callbacks do at its end, or preparing where there was no training."""
        while self.open:
            self.leave()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Testing begins, and with it what is no part of the adaptation."""
        self.end_adaptation()
        self.enter("test")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Testing ends."""
        self.leave()
