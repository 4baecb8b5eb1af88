"""State of a climb: what stands, what was tried, and what may still be tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from tbft.adaptation.adaptation import Adaptation
from tbft.adaptation.hindsight import check_can_test
from tbft.adaptation.ladder import Ladder, check_nothing_is_named
from tbft.adaptation.standing import figures_of
from tbft.diagnosis import Diagnosis
from tbft.remedies import REFRESHED, SOURCE, Choice, SourceCard
from tbft.remedies.evidence import Interval
from tbft.remedies.race import LEAST_VALIDATION, Outcome, Trained, is_cheap_to_train, is_worth_training
from tbft.schema import RunRecord


@dataclass
class ClimbState(Adaptation):
    """An adaptation without a drift level: what the network has, what was tried, and what may still be tried.

    Args:
        ladder: limits of the climb.
        train: function ``(climb, level, epochs)`` that trains the level's block, or the whole network, from the
            network's present weights, and loads the weights of the best epoch. Epochs ``None`` takes the recipe's
            number. ``None`` trains nothing by steps.

    Attributes:
        diagnosis: diagnosis of the sample; ``None`` until it was looked at.
        trail: remedies that were tried, in order, as entries of the record.
        aligned: whether the network has the aligned front block.
        standing: state of the network's BatchNorm statistics, ``SOURCE`` or ``REFRESHED``.
        reached: accuracy of the network as adapted so far, estimated on the sample.

    Raises:
        BadInput: if a level, block or statistics policy is named, which the ladder chooses itself, or hindsight is
            asked for without test images.
    """

    ladder: Ladder = field(default_factory=Ladder)
    train: Callable[[ClimbState, Trained, int | None], Outcome] | None = None
    diagnosis: Diagnosis | None = None
    trail: list[dict[str, Any]] = field(default_factory=list)
    aligned: bool = False

    def __post_init__(self) -> None:
        check_nothing_is_named(self.freeze, self.head)
        if self.ladder.hindsight:
            check_can_test(self.data)
        self.target = ()
        self.standing = SOURCE
        self.reached: Interval | None = None

    @property
    def trains_by_steps(self) -> bool:
        """Always false: training is decided once the sample is seen, and ``train`` then makes its own trainer."""
        return False

    @property
    def strategy(self) -> str:
        """Name of the strategy in the record."""
        return "auto"

    @property
    def statistics(self) -> str:
        """Policy of the BatchNorm statistics in the record: ``source`` or ``refresh``."""
        return "source" if self.standing == SOURCE else "refresh"

    @property
    def card(self) -> SourceCard:
        """The base model's source card, empty if it has none."""
        return self.classifier.card

    def add_to(self, record: RunRecord) -> None:
        """Add to the record the diagnosis with its advice, and each remedy that was tried."""
        record["remedies"] = self.trail
        found = self.diagnosis
        if found is None:
            return
        record["drift"]["diagnosed"] = list(found.levels)
        record["diagnosis"] = {
            "verdict": found.verdict,
            "reason": found.reason,
            "advice": list(found.advice),
            "images": found.images,
            "labelled": found.labelled,
            "estimated_accuracy": None if found.labelled else figures_of(found.accuracy),
            "estimated_accuracy_after": None if found.labelled else figures_of(self.reached),
            "left": figures_of(self.card.left_above(self.reached) if self.reached else None),
        }

    @property
    def images_that_train(self) -> int:
        """Number of images on which blocks may be trained by steps; 0 where training is not allowed."""
        assert self.data.train is not None
        allowed = self.max_epochs != 0 and self.ladder.train and self.train is not None
        held_out = len(self.data.val) if self.data.val is not None and self.data.labelled else 0
        return len(self.data.train) if allowed and held_out >= LEAST_VALIDATION else 0

    def is_worth_aligning(self, choice: Choice) -> bool:
        """Whether the front block may still win accuracy back and the source's moments are known."""
        if self.standing != REFRESHED or self._has_reached_target(choice.accuracy):
            return False
        if self.card.moments is None:
            self.note(("refresh", "align"), False, "the base model has no source card with moments: measure one")
            return False
        return not self.meter.over_budget()

    def is_worth_training(self, choice: Choice) -> bool:
        """Whether training by steps is allowed and may gain enough."""
        return self._may_train_after(choice) and is_worth_training(choice.left, self.card, self.images_that_train)

    def is_cheap_to_train(self, choice: Choice, forward: float) -> bool:
        """Whether training by steps is allowed and the network is small enough to train as a whole.

        Args:
            choice: remedies that were chosen without training.
            forward: multiply-adds of one image's forward pass.
        """
        if not self._may_train_after(choice):
            return False
        assert self.diagnosis is not None
        return is_cheap_to_train(self.diagnosis.levels, choice.left, self.images_that_train, forward)

    def _may_train_after(self, choice: Choice) -> bool:
        """Whether training by steps is allowed: the sample drifted, wrong labels are not the cause, budget is left."""
        assert self.diagnosis is not None
        if not self.images_that_train or not choice.drifted or choice.verdict == "cannot tell":
            return False
        if self.diagnosis.has_wrong_labels or self._has_reached_target(choice.accuracy):
            return False
        return not self.meter.over_budget()

    def settle(self, choice: Choice) -> None:
        """Note what was kept and why, and make the changed links the target."""
        chain, base = self.classifier.model, self.keep.base_weights
        changed = {
            key for key, value in chain.state_dict().items() if not torch.equal(value, base[key].to(value.device))
        }
        self.keep.kept = "adapted" if changed else "base"
        self.keep.reason = None if changed else choice.reason
        named = {id(parameter): name for name, parameter in chain.named_parameters()}
        for parameter in chain.parameters():
            parameter.requires_grad_(named[id(parameter)] in changed)
        self.target = tuple(
            link
            for link in chain.links
            if any(p.requires_grad for module in chain.modules_of((link,)) for p in module.parameters(recurse=False))
        )

    def note(
        self,
        remedies: tuple[str, ...],
        accepted: bool,
        reason: str,
        accuracy: Interval | None = None,
        *,
        cpu_seconds: float | None = None,
        statistics: str = REFRESHED,
    ) -> None:
        """Add a remedy that needs gradients, or a later choice of remedies without, to the trail.

        Args:
            remedies: names of the remedies in the order applied.
            accepted: whether they are kept.
            reason: why they are kept or refused.
            accuracy: accuracy with them.
            cpu_seconds: CPU-seconds that they took.
            statistics: state of the BatchNorm statistics with them.
        """
        told: dict[str, Any] = {"remedies": list(remedies), "statistics": statistics, "accepted": accepted}
        told |= {"accuracy": accuracy and asdict(accuracy), "gain": None, "p": None, "cost": None}
        self.trail.append({**told, "reason": reason, "detail": "", "cpu_seconds": cpu_seconds})

    def _has_reached_target(self, accuracy: Interval | None) -> bool:
        target = self.ladder.target_accuracy
        return target is not None and accuracy is not None and accuracy.value >= target
