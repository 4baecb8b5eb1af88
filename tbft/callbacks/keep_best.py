"""Never worse than the base: what of a personalization is kept."""

from __future__ import annotations

import logging
import math
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from tbft.callbacks.block_freeze import BlockFreezeCallback
from tbft.callbacks.energy import phase
from tbft.data import DomainData
from tbft.evaluation import Score, evaluate
from tbft.module import ImageClassifier

log = logging.getLogger(__name__)


class KeepBestCallback(Callback):
    """Keeps the weights of the epoch with the lowest validation loss, or the base model's.

    At the end of the fit the best weights are compared with the base model on the validation images; the
    base model stays if it was more accurate, or if no epoch had a finite loss. What it remembers travels in
    the checkpoint, so a resumed run decides as an uninterrupted one.

    Attributes:
        base: score of the base model on the validation images; ``None`` when a base model is being trained.
        best: score of the kept weights on the validation images, once the fit has ended.
        kept: which weights the module has, once the fit has ended.
    """

    def __init__(self) -> None:
        self.base: Score | None = None
        self.best: Score | None = None
        self.kept: Literal["adapted", "base"] = "adapted"
        self.base_weights: dict[str, Tensor] = {}
        self.best_weights: dict[str, Tensor] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remember the base model, before a checkpoint is restored over it."""
        if stage == "fit" and not self.base_weights:
            module, _ = _parts(trainer, pl_module)
            self.base_weights = {key: value.detach().clone() for key, value in module.model.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """The scores and the best weights so far."""
        scores = {name: list(score) if score else None for name, score in (("base", self.base), ("best", self.best))}
        return {**scores, "best_weights": self.best_weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where the interrupted run was."""
        self.base = Score(*state_dict["base"]) if state_dict["base"] else None
        self.best = Score(*state_dict["best"]) if state_dict["best"] else None
        self.best_weights = state_dict["best_weights"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the base model before its statistics change."""
        freeze = next(c for c in trainer.callbacks if isinstance(c, BlockFreezeCallback))  # type: ignore[attr-defined]
        if freeze.statistics != "source":
            self._score_base(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the base model on cached features, if its statistics did not change."""
        self._score_base(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the weights if they are the best so far."""
        if trainer.state.fn != "fit":
            return
        metrics = trainer.callback_metrics
        score = Score(float(metrics["val/loss"]), float(metrics["val/accuracy"]))
        if math.isfinite(score.loss) and (self.best is None or score.loss < self.best.loss):
            module, _ = _parts(trainer, pl_module)
            self.best = score
            self.best_weights = {
                key: value.detach().clone()
                for key, value in module.model.state_dict().items()
                if not torch.equal(value, self.base_weights[key].to(value.device))
            }

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load the best weights, or the base model's if these were better."""
        module, data = _parts(trainer, pl_module)
        self._score_base(trainer, pl_module)
        if self.best is None:  # the weights were prepared and not trained, or training diverged
            assert data.val is not None
            with phase(trainer, "validate"):
                self.best = evaluate(module, data.val)
        elif self.best_weights:
            module.model.load_state_dict({**self.base_weights, **self.best_weights})
        diverged = not math.isfinite(self.best.loss)
        if diverged:
            log.warning("training diverged: the validation loss is %g; try a lower learning rate", self.best.loss)
        if self.base is not None and (diverged or self.best.accuracy < self.base.accuracy):
            log.warning(
                "the adapted weights reach %.1f %% on the validation images, the base model %.1f %%: it is kept",
                100 * self.best.accuracy,
                100 * self.base.accuracy,
            )
            module.model.load_state_dict(self.base_weights)
            self.best, self.kept = self.base, "base"

    def _score_base(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module, data = _parts(trainer, pl_module)
        if self.base is None and module.base is not None:
            assert data.val is not None
            # Cached features are the base model's as long as its statistics are: only what follows is put back.
            now = {key: value.clone() for key, value in module.model.state_dict().items()}
            with phase(trainer, "validate"):
                module.model.load_state_dict(self.base_weights)
                self.base = evaluate(module, data.val)
                module.model.load_state_dict(now)


def _parts(trainer: Trainer, module: LightningModule) -> tuple[ImageClassifier, DomainData]:
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(module, ImageClassifier) and isinstance(data, DomainData)
    return module, data
