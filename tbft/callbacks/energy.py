"""Energy and time of a run, booked to its phases."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from tbft.energy import EnergyMeter

ADAPTATION = ("prepare", "train", "validate", "save")
"""Phases that bring the model up to date; testing for the report is booked apart."""


class EnergyCallback(Callback):
    """Books joules, CPU-seconds and wall-seconds to the phases of a run, with CodeCarbon beside it.

    Args:
        sources: power sources in order of trust: ``auto``, or names as ``python -m tbft meter`` lists them.
        rail: sensor rail or shunt to trust where a chip has several.
        rate_hz: samples a second of sensors without a counter.
        idle_seconds: length of the idle baseline before and after the run, in seconds; 0 is none.
        country: ISO code of the country whose carbon intensity of electricity counts.
        codecarbon: estimate CO2e, and what has no sensor, with CodeCarbon (offline).
        budget_joules: training stops when the adaptation has used so much; the best so far is kept.
        budget_seconds: likewise in seconds of wall time.
    """

    def __init__(
        self,
        sources: str | list[str] = "auto",
        rail: str | None = None,
        rate_hz: float = 10.0,
        idle_seconds: float = 0.0,
        country: str = "USA",
        codecarbon: bool = True,
        budget_joules: float | None = None,
        budget_seconds: float | None = None,
    ) -> None:
        self.budget_joules, self.budget_seconds = budget_joules, budget_seconds
        self.stopped_by: str | None = None
        self.settings: dict[str, Any] = {
            "sources": sources,
            "rail": rail,
            "rate_hz": rate_hz,
            "idle_seconds": idle_seconds,
            "country": country,
            "codecarbon": codecarbon,
        }
        self.meter: EnergyMeter | None = None
        self.open: list[str] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Warm the sources up and start the meter, on the first process only: readings are machine-wide."""
        if self.meter is None and trainer.is_global_zero:
            cuda = trainer.strategy.root_device.type == "cuda"
            self.meter = EnergyMeter(synchronize=torch.cuda.synchronize if cuda else None, **self.settings)
            self.meter.start()

    def enter(self, name: str) -> None:
        """Book to this phase from now on."""
        if self.meter is not None:
            self.meter.enter(name)
            self.open.append(name)

    def leave(self) -> None:
        """End the innermost phase: book to the one around it again."""
        if self.meter is not None and self.open:
            self.meter.leave(self.open.pop())

    def finish(self) -> dict[str, Any]:
        """End what is open, stop the meter and return its record (empty if it never ran)."""
        while self.open:
            self.leave()
        if self.meter is None:
            return {}
        self.meter.stop()
        return {**self.meter.record(), "stopped_by": self.stopped_by}

    def spent(self) -> tuple[float, float]:
        """Joules and wall-seconds of the adaptation so far."""
        if self.meter is None:
            return 0.0, 0.0
        return self.meter.joules_so_far(ADAPTATION), self.meter.seconds_so_far(ADAPTATION)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The adaptation begins."""
        self.enter("prepare")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From preparing to training."""
        self.leave()
        self.enter("train")

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Stop at the budget."""
        if self.budget_joules is None and self.budget_seconds is None:
            return
        joules, seconds = self.spent()
        if self.budget_joules is not None and joules >= self.budget_joules:
            self.stopped_by = "budget_joules"
        if self.budget_seconds is not None and seconds >= self.budget_seconds:
            self.stopped_by = "budget_seconds"
        # Every process stops, for the first one alone sees the meter.
        trainer.should_stop = trainer.strategy.reduce_boolean_decision(self.stopped_by is not None, all=False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation begins."""
        self.enter("validate")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation ends."""
        self.leave()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Training ends, or preparing where there was no training."""
        while self.open:
            self.leave()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Testing begins."""
        self.enter("test")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Testing ends."""
        self.leave()


def phase(trainer: Trainer, name: str) -> AbstractContextManager[Any]:
    """Books what happens inside to a phase of the run, if the run is metered."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EnergyCallback) and callback.meter is not None:
            return callback.meter.phase(name)
    return nullcontext()
