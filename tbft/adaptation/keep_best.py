"""Never worse than the base: what of an adaptation is kept."""

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
    """What somebody's own metric says of the validation images.

    Attributes:
        loss: the metric, or its negative where more is better.
        value: the metric.
    """

    loss: float
    value: float


def reason_to_keep_base_by(base: Reading, adapted: Reading) -> str | None:
    """Why the base model is kept by one number: the adapted weights must be better, for nothing tells more of them."""
    if adapted.loss < base.loss:
        return None
    return f"the monitored metric is no better ({adapted.value:.4g}, {base.value:.4g} with the base)"


class KeepBest:
    """Keeps the weights with the lowest validation loss, or the base model's.

    At the end the best weights are compared with the base model on the validation images, image by image
    (``reason_to_keep_base``).

    Attributes:
        reading: type of the scores: ``Score``, or ``Reading`` where somebody's own metric decides.
        base: score of the base model on the validation images; ``None`` when there is none to fall back to.
        best: score of the kept weights on the validation images, once ``settle`` has run.
        kept: which weights the network has, once ``settle`` has run.
        reason: why the base model was kept; ``None`` if it was not.
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
        """The scores and the best weights so far: a resumed run decides as an uninterrupted one."""
        scores = {name: list(score) if score else None for name, score in (("base", self.base), ("best", self.best))}
        return {**scores, "best_weights": self.best_weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where the interrupted run was."""
        self.base = self.reading(*state_dict["base"]) if state_dict["base"] else None
        self.best = self.reading(*state_dict["best"]) if state_dict["best"] else None
        self.best_weights = state_dict["best_weights"]

    def remember_base(self, network: nn.Module) -> None:
        """Remember the base model's weights, before anything changes them."""
        if not self.base_weights:
            self.base_weights = {key: value.detach().clone() for key, value in network.state_dict().items()}

    def score_base(self, network: nn.Module, score: Callable[[], Score | Reading]) -> None:
        """Score the base model, once, whatever the network's weights are at the moment.

        Args:
            network: the network.
            score: scores it as it stands, on the validation images.
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
        """Load the best weights, or the base model's if there is a reason to keep these.

        Args:
            network: the network.
            score: scores it as it stands, on the validation images; ``None`` if that is not possible.
        """
        if self.best is None:  # the weights were prepared and not trained, or training diverged
            self.best = score()
        else:  # what the best weights leave unchanged is the base model's
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
