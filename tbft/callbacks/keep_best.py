"""Keep-best as a callback: the epoch with the lowest validation loss, or the base model."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer

from tbft.adaptation.evaluation import evaluate
from tbft.adaptation.keep_best import KeepBest
from tbft.adaptation.score import Score
from tbft.data.labelled import LabelledData
from tbft.energy.run_meter import RunMeter, phase_of
from tbft.module import ImageClassifier


class KeepBestCallback(KeepBest, Callback):
    """Keeps the weights of the epoch with the lowest validation loss, or the base model's (see ``KeepBest``).

    Args:
        has_base: whether there is a base model to fall back to; there is none while one is being trained.
        score_first: score the base model before anything else is prepared; off scores it when training starts, on
            cached features, which are the base model's too where statistics stay the source's.
        meter: books scoring to the phase ``validate``.
    """

    def __init__(self, has_base: bool = True, score_first: bool = True, meter: RunMeter | None = None) -> None:
        super().__init__()
        self.has_base, self.score_first, self.meter = has_base, score_first, meter

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remember the base model, before a checkpoint is restored over it."""
        if stage == "fit":
            self.remember_base(_classifier(pl_module).model)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the base model before its statistics change."""
        if self.score_first:
            self._score_base(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the base model on cached features, if its statistics did not change."""
        self._score_base(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the weights if they are the best so far."""
        if trainer.state.fn == "fit":
            module = _classifier(pl_module)
            self.consider(module.model, module.scores["val"])

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load the best weights, or the base model's if there is a reason to keep these."""
        self._score_base(trainer, pl_module)
        self.settle(_classifier(pl_module).model, lambda: self._score(trainer, pl_module))

    def _score_base(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.has_base:
            self.score_base(_classifier(pl_module).model, lambda: self._score(trainer, pl_module))

    def _score(self, trainer: Trainer, pl_module: LightningModule) -> Score:
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, LabelledData) and data.val is not None
        with phase_of(self.meter, "validate"):
            return evaluate(_classifier(pl_module), data.val)


def _classifier(module: LightningModule) -> ImageClassifier:
    assert isinstance(module, ImageClassifier)
    return module
