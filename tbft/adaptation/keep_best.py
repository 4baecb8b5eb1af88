"""Choice of the weights that an adaptation keeps: its best ones, or the base model's if those are not better."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from tbft.remedies.validated import Score, reason_to_keep_base

log = logging.getLogger(__name__)


class Reading(NamedTuple):
    """Value of a user's own metric on the validation images.

    Attributes:
        loss: the metric, negated where more is better, so that less is better.
        value: the metric itself.
    """

    loss: float
    value: float


def reason_to_keep_base_by(base: Reading, adapted: Reading) -> str | None:
    """Return why the base model is kept, judged by one metric, or ``None`` if the adapted weights are strictly better.

    Args:
        base: metric of the base model.
        adapted: metric of the adapted weights.
    """
    if adapted.loss < base.loss:
        return None
    return f"the monitored metric is no better ({adapted.value:.4g}, {base.value:.4g} with the base)"


class KeepBest:
    """Keeps the weights with the lowest validation loss, or the base model's weights.

    At the end the best weights are compared with the base model, image by image, on the validation images
    (``reason_to_keep_base``), or by a user's own metric (``reason_to_keep_base_by``).

    Attributes:
        reading: type of the scores: ``Score``, or ``Reading`` where a user's own metric decides.
        base: score of the base model on the validation images; ``None`` if there is no base model to fall back to.
        best: lowest-loss score so far on the validation images; once ``settle`` has run, the score of the kept weights.
        kept: ``adapted`` or ``base``, the weights that the network has once ``settle`` has run.
        reason: why the base model was kept; ``None`` if the adapted weights were.
        base_weights: state dict of the base model.
        best_weights: entries of the best state dict that differ from the base model's.
    """

    reading: type[Score] | type[Reading] = Score

    def __init__(self) -> None:
        self.base: Any = None
        self.best: Any = None
        self.kept: Literal["adapted", "base"] = "adapted"
        self.reason: str | None = None
        self.base_weights: dict[str, Tensor] = {}
        self.best_weights: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the scores and the best weights so far, so that a resumed run decides like an uninterrupted one."""
        scores = {name: list(score) if score else None for name, score in (("base", self.base), ("best", self.best))}
        return {**scores, "best_weights": self.best_weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the scores and the best weights of an interrupted run."""
        self.base = self.reading(*state_dict["base"]) if state_dict["base"] else None
        self.best = self.reading(*state_dict["best"]) if state_dict["best"] else None
        self.best_weights = state_dict["best_weights"]

    def remember_base(self, network: nn.Module) -> None:
        """Remember the network's weights as the base model's, on the first call only."""
        if not self.base_weights:
            self.base_weights = {key: value.detach().clone() for key, value in network.state_dict().items()}

    def score_base(self, network: nn.Module, score: Callable[[], Score | Reading]) -> None:
        """Score the base model's weights, on the first call only; the network's present weights are restored.

        Args:
            network: the network.
            score: function that scores the network's present weights on the validation images.
        """
        if self.base is None:
            now = {key: value.clone() for key, value in network.state_dict().items()}
            network.load_state_dict(self.base_weights)
            self.base = score()
            network.load_state_dict(now)

    def consider(self, network: nn.Module, score: Score | Reading) -> None:
        """Remember the network's weights if they are the best so far."""
        if math.isfinite(score.loss) and (self.best is None or score.loss < self.best.loss):
            self.best = score
            self.best_weights = {
                key: value.detach().clone()
                for key, value in network.state_dict().items()
                if not torch.equal(value, self.base_weights[key].to(value.device))
            }

    def settle(self, network: nn.Module, score: Callable[[], Score | Reading | None]) -> None:
        """Load the best weights, or the base model's weights if there is a reason to keep them.

        Args:
            network: the network.
            score: function that scores the network's present weights on the validation images; it returns ``None``
                if that is not possible. It is called only if no weights were considered.
        """
        if self.best is None:  # the weights were prepared and not trained, or training diverged
            self.best = score()
        else:  # ``best_weights`` lacks the entries that did not change
            network.load_state_dict({**self.base_weights, **self.best_weights})
        if self.best is not None and not math.isfinite(self.best.loss):
            log.warning("training diverged: the validation loss is %g; try a lower learning rate", self.best.loss)
        if self.base is not None and (reason := self._reason()):
            log.warning("the base model is kept: %s", reason)
            network.load_state_dict(self.base_weights)
            self.best, self.kept, self.reason = self.base, "base", reason

    def _reason(self) -> str | None:
        if self.best is None:
            return "nothing was validated after it"
        decide: Callable[[Any, Any], str | None]
        decide = reason_to_keep_base if self.reading is Score else reason_to_keep_base_by
        return decide(self.base, self.best)
