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
from tbft.evaluation import evaluate
from tbft.module import ImageClassifier
from tbft.score import Score, chance_of, differing

log = logging.getLogger(__name__)

LEVEL = 0.1
"""Chance, at most, of a gain in whole images that needs no further evidence."""


def reason_to_keep_base(base: Score, adapted: Score) -> str | None:
    """Why the base model is kept and not the adapted weights, or ``None`` if the adapted ones are.

    PLACEHOLDER
    """
    if not math.isfinite(adapted.loss):
        return f"training diverged (validation loss {adapted.loss:g})"
    better, worse = differing(base.right, adapted.right)
    counts = f"{adapted.correct} of {len(adapted.right)} validation images are right, {base.correct} with the base"
    if better < worse:
        return counts
    if chance_of(better, worse) > LEVEL and not adapted.loss < base.loss:
        return f"{counts}, and the validation loss is no lower ({adapted.loss:.3g}, {base.loss:.3g} with the base)"
    return None


class KeepBestCallback(Callback):
    """Keeps the weights of the epoch with the lowest validation loss, or the base model's.

    At the end of the fit the best weights are compared with the base model on the validation images, image by image
    (``reason_to_keep_base``). What it remembers travels in the checkpoint, so a resumed run decides as an
    uninterrupted one.

    Attributes:
        base: score of the base model on the validation images; ``None`` when a base model is being trained.
        best: score of the kept weights on the validation images, once the fit has ended.
        kept: which weights the module has, once the fit has ended.
        reason: why the base model was kept; ``None`` if it was not.
    """

    def __init__(self) -> None:
        self.base: Score | None = None
        self.best: Score | None = None
        self.kept: Literal["adapted", "base"] = "adapted"
        self.reason: str | None = None
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
        module, _ = _parts(trainer, pl_module)
        score = module.scores["val"]
        if math.isfinite(score.loss) and (self.best is None or score.loss < self.best.loss):
            self.best = score
            self.best_weights = {
                key: value.detach().clone()
                for key, value in module.model.state_dict().items()
                if not torch.equal(value, self.base_weights[key].to(value.device))
            }

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load the best weights, or the base model's if there is a reason to keep these."""
        module, data = _parts(trainer, pl_module)
        self._score_base(trainer, pl_module)
        if self.best is None:  # the weights were prepared and not trained, or training diverged
            assert data.val is not None
            with phase(trainer, "validate"):
                self.best = evaluate(module, data.val)
        else:  # what the best epoch did not change is the base model's
            module.model.load_state_dict({**self.base_weights, **self.best_weights})
        if not math.isfinite(self.best.loss):
            log.warning("training diverged: the validation loss is %g; try a lower learning rate", self.best.loss)
        if self.base is not None and (reason := reason_to_keep_base(self.base, self.best)):
            log.warning("the base model is kept: %s", reason)
            module.model.load_state_dict(self.base_weights)
            self.best, self.kept, self.reason = self.base, "base", reason

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
